"""CSRF protection: forms are accepted only from auth's own pages."""

from starlette.requests import Request

from services.auth.errors import ForeignForm
from services.auth.settings import Settings
from shared.identity.same_origin import is_same_origin, origin_of


def require_same_origin(request: Request, settings: Settings) -> None:
    """Refuse a form unless the browser states that it was sent from the same origin."""
    headers = request.headers
    own = origin_of(settings.oauth_issuer)
    if not is_same_origin(headers.get("sec-fetch-site"), headers.get("origin"), own):
        raise ForeignForm
