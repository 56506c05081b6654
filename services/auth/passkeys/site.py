"""The site that passkeys belong to."""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

LOCAL = "localhost"


@dataclass(frozen=True, slots=True)
class PasskeySite:
    """The host name that passkeys are created for, and the origin of the pages that use them."""

    host: str
    origin: str


def passkey_site(issuer: str) -> PasskeySite | None:
    """Return the site of this issuer; None if it has no host name, which browsers require.

    At a loopback address it is localhost, which leads to the same machine.
    """
    parts = urlsplit(issuer)
    if parts.hostname is None:
        return None
    try:
        address = ipaddress.ip_address(parts.hostname)
    except ValueError:
        return PasskeySite(parts.hostname, f"{parts.scheme}://{parts.netloc}")
    if not address.is_loopback:
        return None
    port = "" if parts.port is None else f":{parts.port}"
    return PasskeySite(LOCAL, f"{parts.scheme}://{LOCAL}{port}")
