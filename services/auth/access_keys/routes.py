"""The caller's personal access tokens, and the exchange of credentials for the gateway."""

from services.auth.access_keys import handlers
from services.auth.errors import TooManyAccessKeys
from shared.errors import InvalidToken, NotFound
from shared.http.operations import Operation
from shared.identity.step_up import RECENT
from shared.identity.tokens import internal, person

_KEYS, _KEY = "/auth/me/tokens", "/auth/me/tokens/{key_id}"
_CALLER = (InvalidToken,)

# For people only: a key that a program created could outlive the program's own token.
OPERATIONS = [
    Operation(
        "POST",
        _KEYS,
        handlers.create_access_key,
        access=person,
        step_up=RECENT,
        status=201,
        idempotent=True,
        errors=(*_CALLER, TooManyAccessKeys),
    ),
    Operation("GET", _KEYS, handlers.list_access_keys, access=person, errors=_CALLER),
    Operation(
        "DELETE", _KEY, handlers.revoke_access_key, access=person, status=204, errors=(*_CALLER, NotFound)
    ),
    Operation(
        "POST",
        "/internal/exchange",
        handlers.exchange_credential,
        access=internal,
        errors=(NotFound,),
        recorded=False,
    ),
]
