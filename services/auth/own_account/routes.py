"""The caller's own account."""

from services.auth.errors import InvalidCode, LoginThrottled, NoFactor, NotInteractive, WrongPassword
from services.auth.own_account import factor_handlers, handlers
from shared.errors import InvalidToken
from shared.http.operations import Operation

_CHECKED = (InvalidToken, NotInteractive, WrongPassword, LoginThrottled)
_CONFIRMED = (InvalidToken, NotInteractive, InvalidCode, LoginThrottled)

OPERATIONS = [
    Operation("POST", "/auth/me/totp", factor_handlers.enrol_totp, errors=_CHECKED),
    Operation("POST", "/auth/me/totp/confirm", factor_handlers.confirm_totp, errors=_CONFIRMED),
    Operation(
        "POST", "/auth/me/totp/remove", factor_handlers.remove_totp, status=204, errors=(*_CHECKED, NoFactor)
    ),
    Operation("GET", "/auth/me", handlers.show_me, errors=(InvalidToken,)),
    Operation(
        "PUT",
        "/auth/me/password",
        handlers.change_password,
        status=204,
        errors=(InvalidToken, WrongPassword, LoginThrottled),
    ),
]
