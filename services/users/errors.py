"""Refusals of the users service.

Refusals of auth (its rules for e-mails, usernames and passwords) are passed on unchanged. Its three conflicts
have a class here only for the documentation.
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
    """The last active admin cannot be demoted, disabled or deleted. Make another account an admin first."""

    code = "last_admin"


class SettingExists(Conflict):
    """A setting with this key exists; change it with PUT."""

    code = "setting_exists"


class TooManySettings(Conflict):
    """The maximum number of settings is stored; delete one first."""

    code = "too_many_settings"
