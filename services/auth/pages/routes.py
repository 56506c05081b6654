"""The pages, and the endpoints that answer a browser."""

from services.auth.errors import ForeignForm, NoIssuer
from services.auth.pages import handlers
from shared.errors import BadRequest, NotFound, TooLarge
from shared.http.operations import Operation
from shared.identity.tokens import public

_FORM = "application/x-www-form-urlencoded"
_PAGE = "text/html"
_HTML = (_PAGE,)
_TO_APP = {303: "", 400: _PAGE}
_TO_SIGN_IN = {303: "", 401: _PAGE, 429: _PAGE}

OPERATIONS = [
    Operation(
        "GET",
        handlers.AUTHORIZE,
        handlers.authorize,
        access=public,
        errors=(NoIssuer,),
        answer_types=_HTML,
        also=_TO_APP,
        action="AUTHORIZE",
    ),
    Operation(
        "POST",
        handlers.AUTHORIZE,
        handlers.post_authorize,
        access=public,
        errors=(NoIssuer, TooLarge),
        body_type=_FORM,
        answer_types=_HTML,
        also=_TO_APP,
        action="AUTHORIZE",
    ),
    Operation(
        "POST",
        "/oauth/consent",
        handlers.answer_consent,
        access=public,
        errors=(NoIssuer, ForeignForm, BadRequest, TooLarge),
        body_type=_FORM,
        answer_types=_HTML,
        also=_TO_APP,
    ),
    Operation("GET", handlers.SIGN_IN, handlers.show_sign_in, access=public, answer_types=_HTML),
    Operation(
        "POST",
        handlers.SIGN_IN,
        handlers.sign_in,
        access=public,
        errors=(ForeignForm, BadRequest, TooLarge),
        body_type=_FORM,
        answer_types=_HTML,
        also=_TO_SIGN_IN,
    ),
    Operation(
        "POST",
        "/auth/signin/code",
        handlers.sign_in_with_code,
        access=public,
        errors=(ForeignForm, BadRequest, TooLarge),
        body_type=_FORM,
        answer_types=_HTML,
        also=_TO_SIGN_IN,
    ),
    Operation(
        "POST",
        "/auth/signout",
        handlers.sign_out,
        access=public,
        errors=(ForeignForm, BadRequest, TooLarge),
        body_type=_FORM,
        answer_types=_HTML,
        also={303: ""},
    ),
    Operation(
        "GET",
        "/auth/pages/{name}",
        handlers.show_asset,
        access=public,
        errors=(NotFound,),
        answer_types=("text/css", "image/svg+xml"),
    ),
]
