"""The refusals of the auth service."""

from shared.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    Problem,
    TooManyRequests,
    Unauthenticated,
)


class InvalidCredentials(Unauthenticated):
    """The name or the password is wrong, or the account may not sign in."""

    code = "invalid_credentials"


class PasswordChangeNeeded(Forbidden):
    """The password is correct, but was set by somebody else. Also send a new one as `new_password`."""

    code = "password_change_required"


class UnknownPasskey(InvalidCredentials):
    """The passkey is unknown, or its options were already used or have expired. Request new options."""


class InvalidRefreshToken(Unauthenticated):
    """The refresh token is unknown, expired or revoked. Sign in again."""

    code = "invalid_refresh_token"


class RefreshTokenReused(Unauthenticated):
    """This refresh token was already used, so its session was ended. Sign in again."""

    code = "refresh_token_reused"


class WrongPassword(Forbidden):
    """The current password is wrong."""

    code = "wrong_password"


class LoginThrottled(TooManyRequests):
    """Too many attempts; try again after the time in Retry-After."""

    code = "login_throttled"


class EmailTaken(Conflict):
    """An account with this e-mail address already exists. Sign in, or use another address."""

    code = "email_taken"


class UsernameTaken(Conflict):
    """This username is already taken. Choose another one."""

    code = "username_taken"


class LastAdmin(Conflict):
    """This is the last active admin. Make another account an admin first."""

    code = "last_admin"


class PublicClient(Conflict):
    """A public client has no secret. Register a confidential client instead."""

    code = "public_client"


class NoIssuer(NotFound):
    """The OAuth server is off. Set OAUTH_ISSUER to the public URL of the gateway."""

    code = "oauth_off"


class NoPasskeySite(NoIssuer):
    """Passkeys need a host name. Set OAUTH_ISSUER to the public URL, with a name and no IP address."""


class TokenRefused(BadRequest):
    """No token was issued; `code` is an error code of RFC 6749, such as invalid_grant or invalid_scope."""

    code = "invalid_request"

    def __init__(self, code: str | None = None, detail: str | None = None) -> None:
        super().__init__(detail)
        self.code = code or type(self).code


class InvalidClient(Problem):
    """The client is unknown or disabled, or its secret is wrong."""

    status = 401
    code = "invalid_client"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": 'Basic realm="gatehouse"'})


class ConsentNeeded(Forbidden):
    """You have not allowed this app these scopes yet. Open its sign-in in a browser and allow them once."""

    code = "consent_required"


class UnknownToken(BadRequest):
    """The token is unknown, or belongs to somebody else."""

    code = "unknown_token"


class ForeignForm(Forbidden):
    """The form was not sent from a page of this server. Reload the page and submit it again."""

    code = "foreign_form"


class TooManyAccessKeys(Conflict):
    """The account already has 50 personal access tokens, the maximum. Revoke one first."""

    code = "too_many_access_keys"


class InvalidMfaToken(Unauthenticated):
    """The mfa_token is unknown or expired, or has no attempts left. Sign in again."""

    code = "invalid_mfa_token"


class InvalidCode(Unauthenticated):
    """The code is wrong or was already used. Wait for the next one, or use a recovery code."""

    code = "invalid_code"


class NoFactor(Conflict):
    """The account has no authenticator app to remove."""

    code = "no_factor"


class InvalidLink(BadRequest):
    """The link is invalid, expired or already used, or a newer one was sent. Request a new one."""

    code = "invalid_link"


class SignInToConfirm(Forbidden):
    """Sign in to the account first, or set a new password, which removes what others attached to it."""

    code = "sign_in_to_confirm"


class RegistrationClosed(Forbidden):
    """Registration is closed. Ask an admin for an invitation."""

    code = "registration_closed"


class AlreadyVerified(Conflict):
    """This e-mail address is already confirmed."""

    code = "already_verified"


class ImpersonationOff(Forbidden):
    """Impersonation is turned off; IMPERSONATION_SECONDS turns it on."""

    code = "impersonation_off"


class CannotImpersonate(Conflict):
    """Only active accounts without the role admin can be impersonated."""

    code = "cannot_impersonate"


class TooManyExports(TooManyRequests):
    """Too many exports within 24 hours; try again after the time in Retry-After."""

    code = "too_many_exports"


class TooManyDownloads(TooManyRequests):
    """Archives are downloaded one at a time, and a few an hour; try again after the time in Retry-After."""

    code = "too_many_downloads"


class ExportNotReady(Conflict):
    """The export is not complete yet; try again in a moment."""

    code = "export_not_ready"


class InvalidPasskey(BadRequest):
    """The passkey does not match its options, or they were already used or have expired. Start again."""

    code = "invalid_passkey"


class TooManyPasskeys(Conflict):
    """The account already has 20 passkeys, the maximum. Remove one first."""

    code = "too_many_passkeys"


class StrangeSignIn(BadRequest):
    """This sign-in was started in another browser, was already used, or has expired. Start again."""

    code = "invalid_state"


class SignInDenied(BadRequest):
    """The provider did not sign you in. Start again, and allow what it asks for."""

    code = "provider_denied"


class EmailNotVerified(Forbidden):
    """The provider does not say that your e-mail address is verified. Verify it there, and sign in again."""

    code = "email_not_verified"


class WrongDomain(Forbidden):
    """Accounts of your organisation at this provider may not sign in here. Use another one."""

    code = "wrong_domain"


class AccountInactive(Forbidden):
    """This account may not sign in. Ask an admin."""

    code = "account_inactive"


class AccountExists(Conflict):
    """An account with your e-mail address already exists. Sign in to it and connect the provider there."""

    code = "account_exists"


class IdentityTaken(Conflict):
    """This account of the provider is connected to another account here. Sign in with it, or use another."""

    code = "identity_taken"


class TooManyIdentities(Conflict):
    """20 accounts are already connected, the maximum. Remove one first."""

    code = "too_many_identities"


class LastWayIn(Conflict):
    """There would be no way left to sign in. First set a password or connect another account."""

    code = "last_way_in"


class UntrustedProvider(Problem):
    """The provider's response cannot be trusted, so you were not signed in. Sign in another way."""

    status = 502
    code = "provider_untrusted"


class ProviderDown(Problem):
    """The provider cannot be reached at the moment. Try again in a minute, or sign in another way."""

    status = 503
    code = "provider_unavailable"


class NoDuo(Conflict):
    """This account does not use Duo, or Duo is not configured here. Use another way."""

    code = "no_duo"


class DuoInUse(Conflict):
    """This account uses Duo already. Remove it first."""

    code = "duo_in_use"


class DuoDenied(Unauthenticated):
    """Duo did not confirm that it is you. Try again, or use another way."""

    code = "duo_denied"


class DuoUntrusted(UntrustedProvider):
    """Duo's response cannot be trusted, so it was refused. Try again, or use another way."""

    code = "duo_untrusted"


class DuoDown(ProviderDown):
    """Duo cannot be reached at the moment. Try again in a minute, or use another way."""

    code = "duo_unavailable"
