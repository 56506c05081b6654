"""Every endpoint of the auth service, one line each."""

from services.auth.errors import (
    EmailTaken,
    InvalidCredentials,
    InvalidRefreshToken,
    LastAdmin,
    LoginThrottled,
    RefreshTokenReused,
    UsernameTaken,
    WrongPassword,
)
from services.auth.handlers import internal_accounts, keys, me, revocations, signing_in
from shared.errors import InvalidToken, NotFound, Unauthenticated
from shared.http.operations import Operation
from shared.identity.revocations import FEED
from shared.identity.tokens import internal, public

_TAKEN = (EmailTaken, UsernameTaken)
_REFRESH = (InvalidRefreshToken, RefreshTokenReused)
_LOGIN = (InvalidCredentials, LoginThrottled)
_SIGNED_OUT = (Unauthenticated, InvalidToken)
_ACCOUNTS, _ACCOUNT = "/internal/accounts", "/internal/accounts/{account_id}"

OPERATIONS = [
    Operation("POST", "/auth/register", signing_in.register, access=public, status=201, errors=_TAKEN),
    Operation("POST", "/auth/login", signing_in.login, access=public, errors=_LOGIN),
    Operation("POST", "/auth/refresh", signing_in.refresh, access=public, errors=_REFRESH),
    Operation("POST", "/auth/logout", signing_in.logout, access=public, status=204, errors=_SIGNED_OUT),
    Operation("GET", "/auth/me", me.show_me, errors=(InvalidToken,)),
    Operation(
        "PUT",
        "/auth/me/password",
        me.change_password,
        status=204,
        errors=(InvalidToken, WrongPassword, LoginThrottled),
    ),
    Operation("GET", "/.well-known/jwks.json", keys.show_keys, access=public),
    Operation("GET", FEED, revocations.follow_revocations, access=internal),
    Operation(
        "POST",
        _ACCOUNTS,
        internal_accounts.create_account,
        access=internal,
        status=201,
        location="/internal/accounts/{id}",
        errors=_TAKEN,
    ),
    Operation("GET", _ACCOUNT, internal_accounts.show_account, access=internal),
    Operation(
        "PATCH",
        _ACCOUNT,
        internal_accounts.change_account,
        access=internal,
        errors=(NotFound, *_TAKEN, LastAdmin),
    ),
    Operation(
        "DELETE",
        _ACCOUNT,
        internal_accounts.delete_account,
        access=internal,
        status=204,
        errors=(NotFound, LastAdmin),
    ),
]
