"""Why the auth service refuses."""

from shared.errors import BadRequest, Conflict, Forbidden, NotFound, TooManyRequests, Unauthenticated


class InvalidCredentials(Unauthenticated):
    """No account that may sign in has this name and this password."""

    code = "invalid_credentials"


class UnknownPasskey(InvalidCredentials):
    """No account that may sign in has this passkey, or the options were used or expired. Ask for new ones."""


class InvalidRefreshToken(Unauthenticated):
    """The refresh token is unknown, expired or revoked. Sign in again."""

    code = "invalid_refresh_token"


class RefreshTokenReused(Unauthenticated):
    """This refresh token was used before, so the session was ended. Sign in again."""

    code = "refresh_token_reused"


class WrongPassword(Forbidden):
    """The current password is wrong."""

    code = "wrong_password"


class LoginThrottled(TooManyRequests):
    """Too many failed attempts; try again after the time in Retry-After."""

    code = "login_throttled"


class EmailTaken(Conflict):
    """There is an account with this e-mail address. Sign in, or use another address."""

    code = "email_taken"


class UsernameTaken(Conflict):
    """There is an account with this username. Choose another one."""

    code = "username_taken"


class LastAdmin(Conflict):
    """This is the last active admin. Make another account admin first."""

    code = "last_admin"


class PublicClient(Conflict):
    """A public client has no secret. Register another client that is not public."""

    code = "public_client"


class NoIssuer(NotFound):
    """The OAuth server is off. Set OAUTH_ISSUER to the address that clients reach the gateway under."""

    code = "oauth_off"


class ForeignForm(Forbidden):
    """The form was not sent from a page of this server. Open the page anew and send it from there."""

    code = "foreign_form"


class TooManyAccessKeys(Conflict):
    """There are 50 personal access tokens, and there may be no more. Revoke one first."""

    code = "too_many_access_keys"


class InvalidMfaToken(Unauthenticated):
    """The mfa_token is unknown or expired, or its tries are used up. Sign in again."""

    code = "invalid_mfa_token"


class InvalidCode(Unauthenticated):
    """The code is not right, or was used before. Wait for the next one, or use a recovery code."""

    code = "invalid_code"


class NoFactor(Conflict):
    """There is no authenticator app to remove."""

    code = "no_factor"


class InvalidLink(BadRequest):
    """The link is unknown, expired or used, or a newer one was sent. Ask for a new one."""

    code = "invalid_link"


class RegistrationClosed(Forbidden):
    """Registration is closed. Ask an admin for an invitation."""

    code = "registration_closed"


class AlreadyVerified(Conflict):
    """This e-mail address is confirmed already."""

    code = "already_verified"


class InvalidPasskey(BadRequest):
    """The passkey does not fit the options, or they were used or are older than five minutes. Begin anew."""

    code = "invalid_passkey"


class TooManyPasskeys(Conflict):
    """There are 20 passkeys, and there may be no more. Remove one first."""

    code = "too_many_passkeys"
