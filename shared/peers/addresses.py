"""Which IP addresses a service may call when the host is user-supplied."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from shared.process.proxies import Network

# Our own list, because the standard library's differs between Python versions.
_NOT_PUBLIC = tuple(
    map(
        ip_network,
        """
        0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16/32 169.254.0.0/16 172.16.0.0/12
        192.0.0.0/24 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16
        192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
        2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20
        """.split(),
    )
)
_PUBLIC_IPV6 = ip_network("2000::/3")  # everything else is local, multicast, reserved or maps to IPv4


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether the address is on the public internet, not on this machine, its network or its cloud."""
    if isinstance(address, IPv6Address) and address not in _PUBLIC_IPV6:
        return False
    return not any(address in network for network in _NOT_PUBLIC)


def is_within(address: IPv4Address | IPv6Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)


def read_address(text: str) -> IPv4Address | IPv6Address:
    """Parse an address from the resolver; IPv4-mapped IPv6 addresses become IPv4."""
    address = ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address
