"""Requests with a cookie count only when they come from our own pages: no other site may send them."""

from urllib.parse import urlsplit


def origin_of(address: str) -> str:
    """The origin of an address, as browsers write it."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"


def is_same_origin(site: str | None, origin: str | None, own: str) -> bool:
    """Whether a browser says, by Sec-Fetch-Site or else by Origin, that our own page has sent the request.

    Browsers that know Sec-Fetch-Site send it, and no script can set it; others send Origin with whatever
    changes something.
    """
    return site == "same-origin" if site is not None else origin == own
