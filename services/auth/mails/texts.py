"""The words of each mail, for mails that are written to files instead of being sent."""

from enum import StrEnum


class Template(StrEnum):
    """Which mail; whoever sends mails has a text of its own for each."""

    VERIFY_EMAIL = "verify_email"
    CONFIRM_REGISTRATION = "confirm_registration"
    REGISTERED_ALREADY = "registered_already"
    INVITATION = "invitation"
    CHANGE_EMAIL = "change_email"
    EMAIL_TAKEN = "email_taken"
    EMAIL_CHANGED = "email_changed"
    FACTOR_ADDED = "factor_added"
    FACTOR_REMOVED = "factor_removed"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - the name of a mail
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - the name of a mail


# The first line is the subject.
TEXTS = {
    Template.VERIFY_EMAIL: """Confirm your e-mail address
Somebody, hopefully you, uses {email} for an account at Gatehouse. Confirm that it is yours:

{link}

The link is good once, until {expires}. If this was not you, do nothing.
""",
    Template.CONFIRM_REGISTRATION: """Confirm your registration
Somebody, hopefully you, registers {email} at Gatehouse. The account is made once you confirm:

{link}

The link is good once, until {expires}. If this was not you, do nothing: there will be no account.
""",
    Template.REGISTERED_ALREADY: """You have an account already
Somebody, hopefully you, wants to register {email} at Gatehouse. There is an account with this
address: sign in at {origin}/auth/signin, or choose a new password at {origin}/auth/forgot

If this was not you, do nothing: nothing was changed.
""",
    Template.INVITATION: """You are invited to Gatehouse
An admin invites {email} to Gatehouse. Choose a password and begin:

{link}

The link is good once, until {expires}.
""",
    Template.CHANGE_EMAIL: """Confirm your new e-mail address
Somebody, hopefully you, wants to use {email} for their account at Gatehouse. Confirm that it is yours:

{link}

The link is good once, until {expires}. If this was not you, do nothing.
""",
    Template.EMAIL_TAKEN: """This address is in use already
Somebody, hopefully you, wants to use {email} for another account at Gatehouse. There is an account
with it already, so nothing was changed.
""",
    Template.EMAIL_CHANGED: """Your e-mail address was changed
The account that used {email} has another e-mail address now, and this one no longer signs in.

If this was not you, tell the admins of Gatehouse at once.
""",
    Template.FACTOR_ADDED: """A second factor was added
Signing in to the account of {email} needs a second factor from now on: {factor}.

If this was not you, choose a new password at once: {origin}/auth/forgot
""",
    Template.FACTOR_REMOVED: """A second factor was removed
Signing in to the account of {email} no longer needs this second factor: {factor}.

If this was not you, choose a new password at once: {origin}/auth/forgot
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
