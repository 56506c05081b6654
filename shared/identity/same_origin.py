"""CSRF protection: requests with a session cookie are accepted only from our own pages."""

from urllib.parse import urlsplit


def origin_of(url: str) -> str:
    """Return the origin of a URL, as browsers write it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def is_same_origin(site: str | None, origin: str | None, own: str) -> bool:
    """Whether our own page sent the request, according to Sec-Fetch-Site or, without it, Origin.

    Scripts cannot set Sec-Fetch-Site. Browsers that do not support it send Origin with every
    state-changing request.
    """
    return site == "same-origin" if site is not None else origin == own
