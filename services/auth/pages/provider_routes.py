"""The routes of sign-in with providers."""

from services.auth.errors import (
    AccountExists,
    AccountInactive,
    EmailNotVerified,
    IdentityTaken,
    LoginThrottled,
    ProviderDown,
    RegistrationClosed,
    SignInDenied,
    StrangeSignIn,
    TooManyIdentities,
    UntrustedProvider,
    WrongDomain,
)
from services.auth.pages import account_provider_handlers, provider_handlers
from services.auth.pages.operations import HTML, PAGE_TYPE, page_with_form
from services.auth.providers.connected import CONNECTED
from services.auth.providers.registry import BEGIN
from shared.errors import BadRequest, NotFound
from shared.http.inputs import JSON
from shared.http.operations import Operation
from shared.identity.tokens import public

_AWAY = (UntrustedProvider, ProviderDown)
_ALSO = {303: "", **dict.fromkeys((400, 403, 409, 429, 502, 503), PAGE_TYPE)}
_BACK = (
    NotFound,
    StrangeSignIn,
    SignInDenied,
    EmailNotVerified,
    WrongDomain,
    AccountInactive,
    RegistrationClosed,
    AccountExists,
    IdentityTaken,
    TooManyIdentities,
    *_AWAY,
)

OPERATIONS = [
    Operation(
        "GET",
        f"{BEGIN}/{{provider}}",
        provider_handlers.begin_provider_sign_in,
        access=public,
        errors=(BadRequest, NotFound, LoginThrottled, *_AWAY),
        answer_types=HTML,
        also=_ALSO,
    ),
    Operation(
        "GET",
        f"{provider_handlers.CALLBACK}/{{provider}}",
        provider_handlers.finish_provider_sign_in,
        access=public,
        errors=_BACK,
        answer_types=HTML,
        also=_ALSO,
        action="SIGN_IN_WITH_PROVIDER",
    ),
    Operation(
        "GET",
        provider_handlers.CALLBACK,
        provider_handlers.finish_short_callback,
        access=public,
        errors=_BACK,
        answer_types=HTML,
        also=_ALSO,
        action="SIGN_IN_WITH_PROVIDER",
    ),
    Operation(
        "GET",
        "/auth/login",
        provider_handlers.begin_front_end_sign_in,
        access=public,
        errors=(LoginThrottled, *_AWAY),
        answer_types=HTML,
        also=_ALSO,
    ),
    Operation(
        "GET",
        "/auth/logout",
        provider_handlers.sign_out_front_end,
        access=public,
        answer_types=(JSON,),
        also={303: ""},
        action="SIGN_OUT",
    ),
    *page_with_form(
        CONNECTED,
        "CHANGE_CONNECTED_ACCOUNTS",
        account_provider_handlers.show_connected_accounts,
        account_provider_handlers.change_connected_accounts,
        {303: "", 400: PAGE_TYPE},
    ),
]
