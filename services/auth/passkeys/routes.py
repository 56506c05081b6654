"""The routes of the caller's passkeys, and of signing in with one."""

from services.auth.errors import (
    InvalidMfaToken,
    InvalidPasskey,
    LoginThrottled,
    NoPasskeySite,
    TooManyPasskeys,
    UnknownPasskey,
)
from services.auth.passkeys import handlers
from shared.errors import InvalidToken, NotFound
from shared.http.operations import Operation
from shared.identity.step_up import RECENT
from shared.identity.tokens import person, public

_MINE = "/auth/me/passkeys"
_CALLER = (InvalidToken,)

OPERATIONS = [
    Operation(
        "POST",
        f"{_MINE}/options",
        handlers.begin_passkey,
        access=person,
        step_up=RECENT,
        errors=(*_CALLER, TooManyPasskeys, NoPasskeySite),
        recorded=False,
    ),
    Operation(
        "POST",
        _MINE,
        handlers.add_passkey,
        access=person,
        step_up=RECENT,
        status=201,
        errors=(*_CALLER, InvalidPasskey, TooManyPasskeys, NoPasskeySite),
    ),
    Operation("GET", _MINE, handlers.list_passkeys, access=person, errors=_CALLER),
    Operation(
        "DELETE",
        f"{_MINE}/{{passkey_id}}",
        handlers.remove_passkey,
        access=person,
        step_up=RECENT,
        status=204,
        errors=(*_CALLER, NotFound),
    ),
    Operation(
        "POST",
        "/auth/passkeys/options",
        handlers.begin_passkey_sign_in,
        access=public,
        errors=(LoginThrottled, NoPasskeySite),
        recorded=False,
    ),
    Operation(
        "POST",
        "/auth/passkeys/sign-in",
        handlers.sign_in_with_passkey,
        access=public,
        errors=(UnknownPasskey, NoPasskeySite),
    ),
    Operation(
        "POST",
        "/auth/mfa/passkey",
        handlers.verify_mfa_with_passkey,
        access=public,
        errors=(InvalidMfaToken, UnknownPasskey, LoginThrottled, NoPasskeySite),
    ),
]
