"""The routes for programs: providers and connected accounts."""

from services.auth.errors import LastWayIn, LoginThrottled, ProviderDown, UntrustedProvider
from services.auth.providers import handlers
from services.auth.providers.registry import BEGIN
from shared.errors import InvalidToken, NotFound
from shared.http.operations import Operation
from shared.identity.step_up import RECENT
from shared.identity.tokens import person, public

_MINE = "/auth/me/identities"

OPERATIONS = [
    Operation("GET", BEGIN, handlers.list_providers, access=public),
    Operation("GET", _MINE, handlers.list_identities, access=person, errors=(InvalidToken,)),
    Operation(
        "POST",
        _MINE,
        handlers.connect_identity,
        access=person,
        step_up=RECENT,
        errors=(InvalidToken, NotFound, LoginThrottled, UntrustedProvider, ProviderDown),
    ),
    Operation(
        "DELETE",
        f"{_MINE}/{{identity_id}}",
        handlers.disconnect_identity,
        access=person,
        step_up=RECENT,
        status=204,
        errors=(InvalidToken, NotFound, LastWayIn),
    ),
]
