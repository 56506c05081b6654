"""The client's address behind proxies: only headers from trusted proxies are used."""

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_settings import NoDecode
from starlette.requests import HTTPConnection

Network = IPv4Network | IPv6Network
IPV6_NETWORK_BITS = 64


def _comma_separated(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())


Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_comma_separated)]


class Proxies:
    """The trusted proxies, whose X-Forwarded-* headers are used."""

    def __init__(self, networks: tuple[Network, ...]) -> None:
        self._networks = networks
        self.trusts = lru_cache(maxsize=4096)(self._trusts) if networks else _nobody

    def address_of(self, connection: HTTPConnection) -> str:
        """Return the address of the client; empty if it has none, as on a Unix socket."""
        client = connection.client
        return self.client_address(client.host, forwarded_for(connection)) if client else ""

    def network_of(self, connection: HTTPConnection) -> str:
        """Return the network against which attempts of this client are counted; empty without an address."""
        address = self.address_of(connection)
        return address and limited_network(address)

    def client_address(self, peer: str, forwarded_for: bytes | None) -> str:
        """Return the right-most address that is not a trusted proxy; anything to its left may be forged."""
        if forwarded_for is None or not self.trusts(peer):
            return peer
        address = peer
        for part in reversed(forwarded_for.decode("latin-1").split(",")):
            candidate = part.strip()
            if not _is_address(candidate):
                break
            address = candidate
            if not self.trusts(address):
                break
        return address

    def _trusts(self, address: str) -> bool:
        if not _is_address(address):
            return False
        ip = ip_address(address)
        return any(ip in network for network in self._networks)


def forwarded_for(connection: HTTPConnection) -> bytes | None:
    """Return X-Forwarded-For; several lines count as one list, since a proxy may add a line of its own."""
    lines = [value for name, value in connection.scope["headers"] if name == b"x-forwarded-for"]
    return b",".join(lines) if lines else None


@lru_cache(maxsize=10_000)
def limited_network(address: str) -> str:
    """Return the network that limits apply to: an IPv6 /64 or a single IPv4 address."""
    if ":" not in address:
        return address
    ip = ip_address(address)
    mapped = getattr(ip, "ipv4_mapped", None)
    return str(mapped) if mapped else str(ip_network((int(ip) >> 64 << 64, IPV6_NETWORK_BITS)))


def _is_address(text: str) -> bool:
    if "%" in text:  # a zone is meaningful on one machine only, and may be any text
        return False
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _nobody(_address: str) -> bool:
    return False
