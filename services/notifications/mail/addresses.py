"""E-mail addresses as they may appear in a header and on the wire."""

import re

ADDRESS_CHARACTERS_MAX = 320
_LOCAL = re.compile(r"[^\s\x00-\x1f\x7f\"(),:;<>@\[\\\]\u2028\u2029]{1,64}")
_DOMAIN = re.compile(
    r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
)


class BadAddress(ValueError):
    """No mail can be sent to this address."""


def read_address(text: str) -> tuple[str, str]:
    """Return the local part and the domain in ASCII; refuse everything that could break a header."""
    local, separator, domain = text.rpartition("@")
    if len(text) > ADDRESS_CHARACTERS_MAX or not separator or _LOCAL.fullmatch(local) is None:
        raise BadAddress("is not an e-mail address")
    try:
        ascii_domain = domain.lower().encode("idna").decode("ascii")
    except UnicodeError as error:
        raise BadAddress("has a domain that does not exist") from error
    if _DOMAIN.fullmatch(ascii_domain) is None:
        raise BadAddress("is not an e-mail address")
    return local, ascii_domain
