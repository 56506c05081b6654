"""The text of each mail, for mails that are written to files instead of being sent."""

from enum import StrEnum


class Template(StrEnum):
    """The kinds of mails. A service that sends mails has its own text for each."""

    VERIFY_EMAIL = "verify_email"
    CONFIRM_REGISTRATION = "confirm_registration"
    REGISTERED_ALREADY = "registered_already"
    INVITATION = "invitation"
    CHANGE_EMAIL = "change_email"
    EMAIL_TAKEN = "email_taken"
    EMAIL_CHANGED = "email_changed"
    FACTOR_ADDED = "factor_added"
    FACTOR_REMOVED = "factor_removed"
    EXPORT_READY = "export_ready"
    IMPERSONATED = "impersonated"
    PROVIDER_CONNECTED = "provider_connected"
    PROVIDER_DISCONNECTED = "provider_disconnected"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - the name of an e-mail
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - the name of an e-mail


# The first line is the subject.
TEXTS = {
    Template.VERIFY_EMAIL: """Confirm your e-mail address
Someone, hopefully you, uses {email} for a Gatehouse account. Confirm that the address is yours:

{link}

The link works once, until {expires}. If this was not you, ignore this e-mail.
""",
    Template.CONFIRM_REGISTRATION: """Confirm your registration
Someone, hopefully you, is registering {email} with Gatehouse. Confirm to create the account:

{link}

The link works once, until {expires}. If this was not you, ignore this e-mail: no account is created.
""",
    Template.REGISTERED_ALREADY: """You already have an account
Someone, hopefully you, tried to register {email} with Gatehouse, but an account with this address
exists. Sign in at {origin}/auth/signin, or choose a new password at {origin}/auth/forgot

If this was not you, ignore this e-mail: nothing has changed.
""",
    Template.INVITATION: """You are invited to Gatehouse
An admin has invited {email} to Gatehouse. Choose a password to start:

{link}

The link works once, until {expires}.
""",
    Template.CHANGE_EMAIL: """Confirm your new e-mail address
Someone, hopefully you, wants to use {email} for their Gatehouse account. Confirm that the address is yours:

{link}

The link works once, until {expires}. If this was not you, ignore this e-mail.
""",
    Template.EMAIL_TAKEN: """This address is already in use
Someone, hopefully you, wants to use {email} for another Gatehouse account. This address already has
an account, so nothing was changed.
""",
    Template.EMAIL_CHANGED: """Your e-mail address was changed
Your account has a new e-mail address, and {email} can no longer be used to sign in.

If this was not you, contact your Gatehouse admins at once.
""",
    Template.FACTOR_ADDED: """A second factor was added
The account {email} has a new second factor: {factor}.

If this was not you, choose a new password at once: {origin}/auth/forgot
""",
    Template.FACTOR_REMOVED: """A second factor was removed
The following was removed from the account {email}: {factor}.

If this was not you, choose a new password at once: {origin}/auth/forgot
""",
    Template.PROVIDER_CONNECTED: """A new way to sign in was added
{provider} can now be used to sign in to the account {email}.

If this was not you, remove it at {origin}/auth/account/providers and choose a new password at
{origin}/auth/forgot
""",
    Template.PROVIDER_DISCONNECTED: """A way to sign in was removed
{provider} can no longer be used to sign in to the account {email}.

If this was not you, choose a new password: {origin}/auth/forgot
""",
    Template.EXPORT_READY: """Your data export is ready
The export of all data of the account {email} is ready. Sign in to download it; it will be deleted
after a few days. If you did not request it, choose a new password now: {origin}/auth/forgot
""",
    Template.IMPERSONATED: """An admin is using your account
The admin {admin} can act as your account {email} for at most {minutes} minutes. You can end this at any
time in the list of your sessions. Everything the admin does is recorded in the audit log.
""",
    Template.RESET_PASSWORD: """Choose a new password
Someone requested a new password for the account {email}. Choose it here:

{link}

The link works once, until {expires}. If this was not you, ignore this e-mail: your password does not change.
""",
    Template.PASSWORD_CHANGED: """Your password was changed
The password of the account {email} was changed, and its other sessions were ended.

If this was not you, choose a new password at once: {origin}/auth/forgot
""",
}
