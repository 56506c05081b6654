"""Forms count only when they come from our own pages: no other site may send them with somebody's cookie."""

from urllib.parse import urlsplit

from starlette.requests import Request

from services.auth.errors import ForeignForm
from services.auth.settings import Settings


def require_same_origin(request: Request, settings: Settings) -> None:
    """Refuse a form unless the browser says that it was sent from a page of ours.

    Browsers that know Sec-Fetch-Site send it, and no script can; others send Origin with every form.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site != "same-origin":
            raise ForeignForm
        return
    parts = urlsplit(settings.oauth_issuer)
    if request.headers.get("origin") != f"{parts.scheme}://{parts.netloc}":
        raise ForeignForm
