"""What a limit counts by: user, address, API client, the whole route, or a combination."""

from collections.abc import Callable

from gateway.request import RequestState
from shared.process.proxies import limited_network

Counted = Callable[[RequestState], str]
_BETWEEN = "\x00"  # occurs in no id or address, so no two callers share a key


def counted(key: str) -> Counted:
    """Return the function that maps a request to its bucket for a `key:`."""
    parts = [_PARTS[part] for part in key.split("+")]
    if len(parts) == 1:
        return parts[0]
    return lambda request: _BETWEEN.join(part(request) for part in parts)


def by_user(request: RequestState) -> str:
    """Requests without a token are counted by address."""
    caller = request.caller
    return by_address(request) if caller is None else f"user {caller.id}"


def by_address(request: RequestState) -> str:
    return limited_network(request.address)


def by_client(request: RequestState) -> str:
    """Return the client that a token was issued to; a user's own token is counted by user."""
    caller = request.caller
    return by_user(request) if caller is None or caller.client_id is None else f"client {caller.client_id}"


def by_route(_request: RequestState) -> str:
    return ""


_PARTS: dict[str, Counted] = {"user": by_user, "ip": by_address, "client": by_client, "route": by_route}
