"""Headers of downloads: the name that a browser saves, and guards against what the content could do."""

import re
from urllib.parse import quote

# A browser must render the content outside our origin, without scripts and without sniffing.
GUARDS = {
    "content-security-policy": "sandbox; default-src 'none'",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(?:\.|$)", re.IGNORECASE)
_NOT_PLAIN = re.compile(r'[^\x20-\x7e]|["\\/%:*?<>|]')
# RFC 8187, attr-char; quote() leaves letters, digits and `_.-~` as they are.
_ATTRIBUTE_CHARACTERS = "!#$&+^`|"


def disposition(name: str, *, shown: bool) -> str:
    """Return the Content-Disposition for any name (RFC 6266), with an ASCII fallback for old clients."""
    saved = f"_{name}" if _DEVICE.match(name) else name  # Windows would open the device
    # Windows drops trailing dots and spaces, and other systems hide names that begin with a dot.
    saved = saved.rstrip(". ") or "_"
    plain = _NOT_PLAIN.sub("_", saved)
    kind = "inline" if shown else "attachment"
    if plain == saved:
        return f'{kind}; filename="{saved}"'
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(saved, safe=_ATTRIBUTE_CHARACTERS)}"
