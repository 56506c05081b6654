"""The URL by which clients reach the suite, for absolute links in responses."""

import re

from starlette.requests import Request

from shared.process.proxies import Proxies
from shared.process.settings import ServiceSettings

# A name or an IP address, and a port. Any other value of Host is kept out of links.
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


def absolute(path: str, request: Request, settings: ServiceSettings) -> str:
    """Return the path under PUBLIC_URL, or under the host that this request was sent to.

    X-Forwarded-* headers are used only from TRUSTED_PROXIES. Without PUBLIC_URL, callers control the host
    in links, but only in their own responses, which are never cached. Without a valid host the path is
    returned unchanged.
    """
    if settings.public_url:
        return settings.public_url + path
    headers = request.headers
    scheme, authority = request.url.scheme, headers.get("host", "")
    peer = request.client.host if request.client else ""
    if Proxies(settings.trusted_proxies).trusts(peer):
        scheme = headers.get("x-forwarded-proto", scheme)
        authority = headers.get("x-forwarded-host", authority)
    is_good = scheme in ("http", "https") and _AUTHORITY.fullmatch(authority)
    return f"{scheme}://{authority}{path}" if is_good else path
