"""The endpoints that OAuth clients call."""

from services.auth.errors import InvalidClient, NoIssuer, TokenRefused
from services.auth.oauth import handlers, json_form
from services.auth.oauth.handlers import FORM
from shared.errors import InvalidToken, TooLarge, Unauthenticated
from shared.http.operations import Operation
from shared.identity.tokens import public

_WELL_KNOWN = "/.well-known"
_JSON = "application/json"
_REFUSED = {400: _JSON, 401: _JSON}
_TOKEN = (Unauthenticated, InvalidToken, NoIssuer)

OPERATIONS = [
    Operation(
        "GET",
        f"{_WELL_KNOWN}/oauth-authorization-server",
        handlers.show_server_metadata,
        access=public,
        errors=(NoIssuer,),
    ),
    Operation(
        "GET",
        f"{_WELL_KNOWN}/openid-configuration",
        handlers.show_openid_configuration,
        access=public,
        errors=(NoIssuer,),
    ),
    Operation(
        "POST",
        "/oauth/token",
        handlers.issue_token,
        access=public,
        body_type=FORM,
        errors=(NoIssuer, TooLarge),
        also=_REFUSED,
    ),
    Operation(
        "POST",
        "/oauth2/token",
        json_form.issue_token_for_json,
        access=public,
        errors=(NoIssuer, TokenRefused, InvalidClient),
    ),
    Operation(
        "POST",
        "/oauth/device_authorization",
        handlers.authorize_device,
        access=public,
        body_type=FORM,
        errors=(NoIssuer, TooLarge),
        also={**_REFUSED, 429: _JSON},
    ),
    Operation(
        "POST",
        "/oauth/par",
        handlers.push_authorization_request,
        access=public,
        status=201,
        body_type=FORM,
        errors=(NoIssuer, TooLarge),
        also=_REFUSED,
    ),
    Operation(
        "POST",
        "/oauth/revoke",
        handlers.revoke_token,
        access=public,
        body_type=FORM,
        errors=(NoIssuer, TooLarge),
        also=_REFUSED,
    ),
    Operation(
        "POST",
        "/oauth/introspect",
        handlers.introspect_token,
        access=public,
        body_type=FORM,
        errors=(NoIssuer, TooLarge),
        also=_REFUSED,
        recorded=False,
    ),
    Operation(
        "GET", "/oauth/userinfo", handlers.show_userinfo, access=public, errors=_TOKEN, also={403: _JSON}
    ),
    Operation(
        "POST",
        "/oauth/userinfo",
        handlers.post_userinfo,
        access=public,
        body_type=FORM,
        errors=(*_TOKEN, TooLarge),
        also={400: _JSON, 403: _JSON},
        recorded=False,
    ),
]
