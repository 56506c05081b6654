"""Redirect URIs: which ones a client may register, and which ones match a request."""

import re
from urllib.parse import urlsplit

URI_CHARACTERS_MAX = 500
_VISIBLE = re.compile(r"[!-~]+")
_LOOPBACK = re.compile(r"(http://(?:127\.0\.0\.1|\[::1\]))(?::[0-9]{1,5})?(?=[/?]|\Z)")
_LOCAL_HOSTS = ("127.0.0.1", "::1", "localhost")
# The scheme of a native app is a reversed domain name (RFC 8252 section 7.1).
_PRIVATE_SCHEME = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+")


def registrable(uri: str, *, is_public: bool) -> str:
    """Return the URI unchanged; raise ValueError with the reason if it may not be registered."""
    if len(uri) > URI_CHARACTERS_MAX or not _VISIBLE.fullmatch(uri) or "\\" in uri:
        raise ValueError(f"must have at most {URI_CHARACTERS_MAX} visible ASCII characters, and no backslash")
    parts = urlsplit(uri)
    if "#" in uri:
        raise ValueError("must not have a fragment")
    if "@" in parts.netloc:
        raise ValueError("must not have a user name")
    if parts.scheme == "https" and parts.hostname:
        return uri
    if parts.scheme == "http" and parts.hostname in _LOCAL_HOSTS:
        return uri
    if is_public and _PRIVATE_SCHEME.fullmatch(parts.scheme):
        return uri
    raise ValueError(
        "must begin with https://, or http:// on localhost, 127.0.0.1 or [::1]; public clients may use a "
        "private scheme such as com.example.app:/callback"
    )


def is_registered(uri: str, registered: list[str], *, is_public: bool) -> bool:
    """Whether the URI is registered, compared byte by byte.

    Native apps listen on a port that the system chooses, so a loopback URI may have any port (RFC 8252).
    """
    if uri in registered:
        return True
    return is_public and _without_port(uri) in {_without_port(one) for one in registered} - {None}


def _without_port(uri: str) -> str | None:
    found = _LOOPBACK.match(uri)
    return None if found is None else found[1] + uri[found.end() :]
