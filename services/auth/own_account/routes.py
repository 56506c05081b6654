"""The caller's own account."""

from services.auth.errors import InvalidCode, LoginThrottled, NoFactor, NotInteractive, WrongPassword
from services.auth.own_account import factor_handlers, handlers, session_handlers
from shared.errors import InvalidToken, NotFound
from shared.http.operations import Operation

_CHECKED = (InvalidToken, NotInteractive, WrongPassword, LoginThrottled)
_CONFIRMED = (InvalidToken, NotInteractive, InvalidCode, LoginThrottled)

_CALLER = (InvalidToken, NotInteractive)
_ONE = (*_CALLER, NotFound)

OPERATIONS = [
    Operation("GET", "/auth/me/sessions", session_handlers.list_sessions, errors=_CALLER),
    Operation(
        "DELETE", "/auth/me/sessions/{session_id}", session_handlers.end_session, status=204, errors=_ONE
    ),
    Operation("GET", "/auth/me/apps", session_handlers.list_connected_apps, errors=_CALLER),
    Operation(
        "DELETE", "/auth/me/apps/{client_id}", session_handlers.disconnect_app, status=204, errors=_ONE
    ),
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
