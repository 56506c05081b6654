"""The routes of the pages and the browser endpoints."""

from services.auth.errors import ForeignForm, NoIssuer
from services.auth.oauth.device import PAGE
from services.auth.pages import handlers, life_handlers, oauth_handlers, sign_in_handlers
from services.auth.pages.account_routes import OPERATIONS as ACCOUNT_OPERATIONS
from services.auth.pages.duo_routes import OPERATIONS as DUO_OPERATIONS
from services.auth.pages.operations import FOREIGN, FORM, HTML, PAGE_TYPE, form, page_with_form
from services.auth.pages.provider_routes import OPERATIONS as PROVIDER_OPERATIONS
from services.auth.pages.visit import SIGN_IN
from shared.errors import BadRequest, NotFound, TooLarge
from shared.http.operations import Operation
from shared.identity.tokens import public

_TO_APP = {303: "", 400: PAGE_TYPE}
_TO_SIGN_IN = {303: "", 401: PAGE_TYPE, 429: PAGE_TYPE}

OPERATIONS = [
    Operation(
        "GET",
        handlers.AUTHORIZE,
        handlers.authorize,
        access=public,
        errors=(NoIssuer,),
        answer_types=HTML,
        also=_TO_APP,
        action="AUTHORIZE",
    ),
    Operation(
        "POST",
        handlers.AUTHORIZE,
        handlers.post_authorize,
        access=public,
        errors=(NoIssuer, TooLarge),
        body_type=FORM,
        answer_types=HTML,
        also=_TO_APP,
        action="AUTHORIZE",
    ),
    Operation(
        "POST",
        "/oauth/consent",
        handlers.answer_consent,
        access=public,
        errors=(NoIssuer, *FOREIGN),
        body_type=FORM,
        answer_types=HTML,
        also=_TO_APP,
    ),
    Operation("GET", SIGN_IN, sign_in_handlers.show_sign_in, access=public, answer_types=HTML),
    form(SIGN_IN, None, sign_in_handlers.sign_in, _TO_SIGN_IN),
    form(f"{SIGN_IN}/code", None, sign_in_handlers.sign_in_with_code, _TO_SIGN_IN),
    form(f"{SIGN_IN}/passkey", "SIGN_IN_WITH_PASSKEY", sign_in_handlers.sign_in_by_passkey_form, _TO_SIGN_IN),
    form("/auth/signout", None, sign_in_handlers.sign_out, {303: ""}),
    *page_with_form(
        "/auth/forgot", "FORGOT_PASSWORD", life_handlers.show_forgotten, life_handlers.send_forgotten
    ),
    *page_with_form("/auth/reset", "RESET_PASSWORD", life_handlers.show_reset, life_handlers.set_password),
    *page_with_form(
        life_handlers.CONFIRM, "CONFIRM_EMAIL", life_handlers.show_confirmation, life_handlers.confirm_address
    ),
    *page_with_form(
        "/auth/invitation", "ACCEPT_INVITATION", life_handlers.show_invitation, life_handlers.take_invitation
    ),
    *page_with_form(
        "/auth/registration", "REGISTER", life_handlers.show_registration, life_handlers.register_by_form
    ),
    *ACCOUNT_OPERATIONS,
    *PROVIDER_OPERATIONS,
    *DUO_OPERATIONS,
    Operation(
        "GET",
        PAGE,
        oauth_handlers.show_device,
        access=public,
        errors=(NoIssuer, BadRequest),
        answer_types=HTML,
        also={303: ""},
    ),
    Operation(
        "POST",
        PAGE,
        oauth_handlers.answer_device,
        access=public,
        errors=(NoIssuer, *FOREIGN),
        body_type=FORM,
        answer_types=HTML,
        also={303: "", 400: PAGE_TYPE, 429: PAGE_TYPE},
    ),
    Operation(
        "GET",
        "/oauth/logout",
        oauth_handlers.sign_out_for_app,
        access=public,
        errors=(NoIssuer,),
        answer_types=HTML,
        also=_TO_APP,
        action="SIGN_OUT",
    ),
    Operation(
        "POST",
        "/oauth/logout",
        oauth_handlers.post_sign_out_for_app,
        access=public,
        errors=(NoIssuer, ForeignForm, TooLarge),
        body_type=FORM,
        answer_types=HTML,
        also=_TO_APP,
        action="SIGN_OUT",
    ),
    Operation(
        "GET",
        "/auth/pages/{name}",
        handlers.show_asset,
        access=public,
        errors=(NotFound,),
        answer_types=("text/css", "image/svg+xml", "text/javascript"),
    ),
]
