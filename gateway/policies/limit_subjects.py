"""Who a limit counts: the user, the address, the API client, the whole route, or several of them together."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from shared.process.proxies import household

if TYPE_CHECKING:
    from gateway.forwarding.exchange import Exchange

Counted = Callable[["Exchange"], str]
_BETWEEN = "\x00"  # in no id and in no address, so that no two callers have one key


def counted(key: str) -> Counted:
    """The function that finds what a `key:` counts a request as."""
    parts = [_PARTS[part] for part in key.split("+")]
    if len(parts) == 1:
        return parts[0]
    return lambda exchange: _BETWEEN.join(part(exchange) for part in parts)


def by_user(exchange: "Exchange") -> str:
    """Whoever shows no token is counted by address."""
    caller = exchange.caller
    return by_address(exchange) if caller is None else f"user {caller.id}"


def by_address(exchange: "Exchange") -> str:
    return household(exchange.address)


def by_client(exchange: "Exchange") -> str:
    """The client that a token was made for; a user's own token is counted as that user's."""
    caller = exchange.caller
    return by_user(exchange) if caller is None or caller.client_id is None else f"client {caller.client_id}"


def by_route(_exchange: "Exchange") -> str:
    return ""


_PARTS: dict[str, Counted] = {"user": by_user, "ip": by_address, "client": by_client, "route": by_route}
