"""Redis by URL: one server, with or without TLS, or a master found through Sentinels.

redis://user:password@host:6379/0
rediss://host:6379/0
redis+sentinel://user:password@host:26379,other:26379/mymaster/0
"""

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from redis.asyncio import Redis

SENTINEL_PORT = 26379


def connect(url: str, *, timeout_seconds: float) -> "Redis":
    """Return a client that connects on first use and reconnects when needed."""
    # Imported late: most suites run without Redis.
    from redis.asyncio import Redis
    from redis.asyncio.sentinel import Sentinel

    timeouts: dict[str, Any] = {"socket_timeout": timeout_seconds, "socket_connect_timeout": timeout_seconds}
    parts = urlsplit(url)
    if parts.scheme != "redis+sentinel":
        return Redis.from_url(url, **timeouts)
    name, _, number = parts.path.strip("/").partition("/")
    account: dict[str, Any] = {
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
    }
    sentinels = [_address(one) for one in parts.netloc.rpartition("@")[2].split(",")]
    sentinel: Any = Sentinel(sentinels, sentinel_kwargs=dict(timeouts), **timeouts)  # type: ignore[no-untyped-call]
    master: Redis = sentinel.master_for(name, db=int(number or 0), **account)
    return master


async def close(client: "Redis") -> None:
    """Close the client's connections, and those to the Sentinels, which `aclose` leaves open."""
    await client.aclose()
    manager: Any = getattr(client.connection_pool, "sentinel_manager", None)
    for sentinel in manager.sentinels if manager is not None else ():
        await sentinel.aclose()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if ":" in text else (text, "", "")
    return host, int(port or SENTINEL_PORT)
