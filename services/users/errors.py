"""Why the users service refuses.

What has no class here and comes from auth (its rules for e-mails, user names and passwords) is passed on
as auth words it; the three conflicts it may answer with are declared for the documentation.
"""

from shared.errors import Conflict


class ProfileDeleted(Conflict):
    """The account is deleted; what is left of it does not change any more."""

    code = "profile_deleted"


class EmailTaken(Conflict):
    """Another account has this e-mail address."""

    code = "email_taken"


class UsernameTaken(Conflict):
    """Another account has this user name."""

    code = "username_taken"


class LastAdmin(Conflict):
    """The last active admin can be neither demoted, disabled nor deleted. Make another one first."""

    code = "last_admin"
