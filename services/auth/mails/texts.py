"""The words of each mail, for mails that are written to files instead of being sent."""

from enum import StrEnum


class Template(StrEnum):
    """Which mail; whoever sends mails has a text of its own for each."""

    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - the name of a mail
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - the name of a mail


# The first line is the subject.
TEXTS = {
    Template.VERIFY_EMAIL: """Confirm your e-mail address
Somebody, hopefully you, uses {email} for an account at Gatehouse. Confirm that it is yours:

{link}

The link is good once, until {expires}. If this was not you, do nothing.
""",
    Template.RESET_PASSWORD: """Choose a new password
Somebody asked for a new password for the account of {email}. Choose it here:

{link}

The link is good once, until {expires}. If this was not you, do nothing: your password stays as it is.
""",
    Template.PASSWORD_CHANGED: """Your password was changed
The password of the account of {email} was changed, and its other sessions have ended.

If this was not you, choose a new password at once: {origin}/auth/forgot
""",
}
