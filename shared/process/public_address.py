"""The address under which clients reach the suite, for links that leave it."""

import re

from starlette.requests import Request

from shared.process.proxies import Proxies
from shared.process.settings import ServiceSettings

# A name or an address, and a port. Nothing else in Host gets into a link.
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


def absolute(path: str, request: Request, settings: ServiceSettings) -> str:
    """The path under PUBLIC_URL, or under the address that this request was sent to.

    X-Forwarded-* count only from TRUSTED_PROXIES. Without PUBLIC_URL callers can choose the host
    of the links in answers to themselves, and in no others: such answers are never cached. Where no good host
    was given the path stays as it is.
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
