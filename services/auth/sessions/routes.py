"""Signing in, refreshing and signing out."""

from services.auth.errors import (
    InvalidCode,
    InvalidCredentials,
    InvalidMfaToken,
    InvalidRefreshToken,
    LoginThrottled,
    PasswordChangeNeeded,
    RefreshTokenReused,
)
from services.auth.sessions import handlers
from shared.errors import InvalidToken, Unauthenticated
from shared.http.operations import Operation
from shared.identity.tokens import public

_LOGIN = (InvalidCredentials, PasswordChangeNeeded, LoginThrottled)
_MFA = (InvalidMfaToken, InvalidCode, LoginThrottled)
_REFRESH = (InvalidRefreshToken, RefreshTokenReused)
_SIGNED_OUT = (Unauthenticated, InvalidToken)

OPERATIONS = [
    Operation("POST", "/auth/login", handlers.login, access=public, errors=_LOGIN),
    Operation("POST", "/auth/mfa/verify", handlers.verify_mfa, access=public, errors=_MFA),
    Operation("POST", "/auth/refresh", handlers.refresh, access=public, errors=_REFRESH),
    Operation("POST", "/auth/logout", handlers.logout, access=public, status=204, errors=_SIGNED_OUT),
]
