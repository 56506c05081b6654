"""Which client addresses a route lets in."""

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network
ADDRESSES_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class AddressRule:
    """The `ip:` block: denies addresses in `deny` and, if `allow` is set, those outside `allow`."""

    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()

    def lets_in(self, address: str) -> bool:
        return _lets_in(self, address)


@lru_cache(maxsize=ADDRESSES_REMEMBERED)
def _lets_in(rule: AddressRule, address: str) -> bool:
    try:
        ip = ip_address(address)
    except ValueError:
        return False  # the address is unknown
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped  # an IPv4 client on a dual-stack socket
    if any(ip in network for network in rule.deny):
        return False
    return not rule.allow or any(ip in network for network in rule.allow)
