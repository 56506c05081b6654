"""The caller's own account."""

from services.auth.errors import (
    InvalidCode,
    LastAdmin,
    LoginThrottled,
    NoFactor,
    NoPasskeySite,
    UnknownPasskey,
    WrongPassword,
)
from services.auth.own_account import factor_handlers, handlers, session_handlers, step_up_handlers
from shared.errors import InvalidToken, NotFound, SignInAgain
from shared.http.operations import Operation
from shared.identity.step_up import RECENT
from shared.identity.tokens import person

_CHECKED = (InvalidToken, WrongPassword, LoginThrottled)
_CONFIRMED = (InvalidToken, InvalidCode, LoginThrottled)
_CALLER = (InvalidToken,)
_ONE = (*_CALLER, NotFound)
_TOTP = "/auth/me/totp"

OPERATIONS = [
    Operation("GET", "/auth/me", handlers.show_me, scope="account:read", errors=_CALLER),
    Operation(
        "PUT",
        "/auth/me/password",
        handlers.change_password,
        access=person,
        status=204,
        errors=(*_CHECKED, SignInAgain),
    ),
    Operation("GET", "/auth/me/sessions", session_handlers.list_sessions, access=person, errors=_CALLER),
    Operation(
        "DELETE",
        "/auth/me/sessions/{session_id}",
        session_handlers.end_session,
        access=person,
        status=204,
        errors=_ONE,
    ),
    Operation("GET", "/auth/me/apps", session_handlers.list_connected_apps, access=person, errors=_CALLER),
    Operation(
        "DELETE",
        "/auth/me/apps/{client_id}",
        session_handlers.disconnect_app,
        access=person,
        status=204,
        errors=_ONE,
    ),
    Operation(
        "POST",
        "/auth/me/step-up",
        step_up_handlers.confirm_identity,
        access=person,
        errors=(*_CHECKED, InvalidCode, UnknownPasskey, NoPasskeySite),
    ),
    Operation(
        "POST",
        "/auth/me/delete",
        handlers.delete_own_account,
        access=person,
        step_up=RECENT,
        status=204,
        errors=(*_CHECKED, LastAdmin),
    ),
    Operation("POST", _TOTP, factor_handlers.enrol_totp, access=person, step_up=RECENT, errors=_CHECKED),
    Operation(
        "POST",
        f"{_TOTP}/confirm",
        factor_handlers.confirm_totp,
        access=person,
        step_up=RECENT,
        errors=_CONFIRMED,
    ),
    Operation(
        "POST",
        f"{_TOTP}/remove",
        factor_handlers.remove_totp,
        access=person,
        step_up=RECENT,
        status=204,
        errors=(*_CHECKED, NoFactor),
    ),
]
