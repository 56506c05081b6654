"""The routes that begin a prompt of Duo, and that remove Duo."""

from services.auth.duo import handlers
from services.auth.errors import DuoDown, DuoInUse, InvalidMfaToken, LoginThrottled, NoDuo, WrongPassword
from shared.errors import InvalidToken
from shared.http.operations import Operation
from shared.identity.step_up import RECENT
from shared.identity.tokens import person, public

_MINE = "/auth/me/duo"
_BEGUN = (NoDuo, DuoDown, LoginThrottled)

OPERATIONS = [
    Operation(
        "POST",
        "/auth/mfa/duo",
        handlers.begin_duo_sign_in,
        access=public,
        errors=(InvalidMfaToken, *_BEGUN),
    ),
    Operation(
        "POST",
        _MINE,
        handlers.add_duo,
        access=person,
        step_up=RECENT,
        errors=(InvalidToken, DuoInUse, *_BEGUN),
    ),
    Operation(
        "DELETE",
        _MINE,
        handlers.remove_duo,
        access=person,
        step_up=RECENT,
        status=204,
        errors=(InvalidToken, NoDuo),
    ),
    Operation(
        "POST",
        "/auth/me/step-up/duo",
        handlers.begin_duo_step_up,
        access=person,
        errors=(InvalidToken, WrongPassword, *_BEGUN),
    ),
]
