"""The routes of the pages and the browser endpoints."""

from collections.abc import Callable, Mapping
from typing import Any

from services.auth.errors import ForeignForm, NoIssuer
from services.auth.oauth.device import PAGE
from services.auth.pages import handlers, life_handlers, oauth_handlers
from shared.errors import BadRequest, NotFound, TooLarge
from shared.http.operations import Operation
from shared.identity.tokens import public

Handler = Callable[..., Any]

_FORM = "application/x-www-form-urlencoded"
_PAGE = "text/html"
_HTML = (_PAGE,)
_TO_APP = {303: "", 400: _PAGE}
_TO_SIGN_IN = {303: "", 401: _PAGE, 429: _PAGE}
_FORM_FAULTS = dict.fromkeys((400, 403, 409, 422, 429), _PAGE)
_LOOKED_AT = {400: _PAGE}
_FOREIGN = (ForeignForm, BadRequest, TooLarge)


def _page(
    path: str, action: str, show: Handler, take: Handler, shown: Mapping[int, str] = _LOOKED_AT
) -> list[Operation]:
    """Return the two operations of a page with a form: showing and submitting it."""
    form = Operation("GET", path, show, access=public, errors=(BadRequest,), answer_types=_HTML, also=shown)
    return [
        form,
        Operation(
            "POST",
            path,
            take,
            access=public,
            errors=_FOREIGN,
            body_type=_FORM,
            answer_types=_HTML,
            also={303: "", **_FORM_FAULTS},
            action=action,
        ),
    ]


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
        errors=(NoIssuer, *_FOREIGN),
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
        errors=_FOREIGN,
        body_type=_FORM,
        answer_types=_HTML,
        also=_TO_SIGN_IN,
    ),
    Operation(
        "POST",
        "/auth/signin/code",
        handlers.sign_in_with_code,
        access=public,
        errors=_FOREIGN,
        body_type=_FORM,
        answer_types=_HTML,
        also=_TO_SIGN_IN,
    ),
    Operation(
        "POST",
        "/auth/signout",
        handlers.sign_out,
        access=public,
        errors=_FOREIGN,
        body_type=_FORM,
        answer_types=_HTML,
        also={303: ""},
    ),
    *_page("/auth/forgot", "FORGOT_PASSWORD", life_handlers.show_forgotten, life_handlers.send_forgotten),
    *_page("/auth/reset", "RESET_PASSWORD", life_handlers.show_reset, life_handlers.set_password),
    *_page("/auth/confirm", "CONFIRM_EMAIL", life_handlers.show_confirmation, life_handlers.confirm_address),
    *_page(
        "/auth/invitation", "ACCEPT_INVITATION", life_handlers.show_invitation, life_handlers.take_invitation
    ),
    *_page("/auth/registration", "REGISTER", life_handlers.show_registration, life_handlers.register_by_form),
    *_page(
        "/auth/account/email",
        "CHANGE_MY_EMAIL",
        life_handlers.show_email_change,
        life_handlers.change_email_by_form,
        {303: "", **_LOOKED_AT},
    ),
    Operation(
        "GET",
        PAGE,
        oauth_handlers.show_device,
        access=public,
        errors=(NoIssuer, BadRequest),
        answer_types=_HTML,
        also={303: ""},
    ),
    Operation(
        "POST",
        PAGE,
        oauth_handlers.answer_device,
        access=public,
        errors=(NoIssuer, *_FOREIGN),
        body_type=_FORM,
        answer_types=_HTML,
        also={303: "", 400: _PAGE, 429: _PAGE},
    ),
    Operation(
        "GET",
        "/oauth/logout",
        oauth_handlers.sign_out_for_app,
        access=public,
        errors=(NoIssuer,),
        answer_types=_HTML,
        also=_TO_APP,
        action="SIGN_OUT",
    ),
    Operation(
        "POST",
        "/oauth/logout",
        oauth_handlers.post_sign_out_for_app,
        access=public,
        errors=(NoIssuer, ForeignForm, TooLarge),
        body_type=_FORM,
        answer_types=_HTML,
        also=_TO_APP,
        action="SIGN_OUT",
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
