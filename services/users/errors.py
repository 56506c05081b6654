"""Why the users service refuses.

Refusals of auth (its rules for e-mails, usernames and passwords) are passed on in its own words. The three
conflicts among them have a class here only so that the documentation can name them.
"""

from shared.errors import Conflict


class ProfileDeleted(Conflict):
    """The account is deleted; its profile can no longer be changed."""

    code = "profile_deleted"


class EmailTaken(Conflict):
    """Another account has this e-mail address."""

    code = "email_taken"


class UsernameTaken(Conflict):
    """Another account has this username."""

    code = "username_taken"


class LastAdmin(Conflict):
    """The last active admin can be neither demoted, disabled nor deleted. Make another one first."""

    code = "last_admin"
