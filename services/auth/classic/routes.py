"""Registration, sign-in, OAuth and clients in the older form, which `/api/v1` leads to."""

from collections.abc import Callable
from functools import partial

from services.auth.classic import account_handlers, client_handlers, oauth_handlers
from services.auth.errors import (
    ConsentNeeded,
    EmailTaken,
    InvalidCredentials,
    LoginThrottled,
    NoIssuer,
    PasswordChangeNeeded,
    PublicClient,
    RegistrationClosed,
    TokenRefused,
    UnknownToken,
    UsernameTaken,
    WrongPassword,
)
from shared.errors import InvalidToken, NotFound, SignInAgain, Unauthenticated
from shared.http.operations import Operation
from shared.identity.step_up import RECENT
from shared.identity.tokens import admin, person, public

_CLIENTS, _CLIENT = "/classic/clients", "/classic/clients/{row_id}"
_read_clients: Callable[..., Operation] = partial(Operation, access=admin, scope="admin:clients")
_change_clients: Callable[..., Operation] = partial(_read_clients, step_up=RECENT)

OPERATIONS = [
    Operation(
        "POST",
        "/classic/users/register",
        account_handlers.register_classic,
        access=public,
        status=201,
        action="REGISTER",
        errors=(EmailTaken, UsernameTaken, RegistrationClosed, LoginThrottled),
        also={202: "application/json"},
    ),
    Operation(
        "POST",
        "/classic/users/login",
        account_handlers.log_in_classic,
        access=public,
        action="LOGIN",
        errors=(InvalidCredentials, PasswordChangeNeeded, LoginThrottled),
    ),
    Operation(
        "POST",
        "/classic/users/logout",
        account_handlers.log_out_classic,
        access=public,
        action="LOGOUT",
        errors=(Unauthenticated, InvalidToken),
    ),
    Operation(
        "PUT",
        "/classic/users/me/password",
        account_handlers.change_classic_password,
        access=person,
        action="CHANGE_PASSWORD",
        errors=(InvalidToken, WrongPassword, LoginThrottled, SignInAgain),
    ),
    # A code becomes a refresh token, which outlives the access token that asks for it here.
    Operation(
        "POST",
        "/classic/oauth/authorize",
        oauth_handlers.authorize_classic,
        access=person,
        step_up=RECENT,
        action="AUTHORIZE",
        errors=(InvalidToken, NoIssuer, TokenRefused, ConsentNeeded),
    ),
    Operation(
        "POST",
        "/classic/oauth/revoke",
        oauth_handlers.revoke_classic_token,
        access=person,
        action="REVOKE_TOKEN",
        errors=(UnknownToken,),
    ),
    Operation(
        "POST",
        "/classic/oauth/introspect",
        oauth_handlers.introspect_classic_token,
        access=person,
        recorded=False,
    ),
    _change_clients(
        "POST", _CLIENTS, client_handlers.create_classic_client, status=201, action="CREATE_CLIENT"
    ),
    _read_clients("GET", _CLIENTS, client_handlers.list_classic_clients, action="LIST_CLIENTS"),
    _read_clients("GET", _CLIENT, client_handlers.show_classic_client, action="SHOW_CLIENT"),
    _change_clients(
        "PUT",
        _CLIENT,
        client_handlers.change_classic_client,
        action="CHANGE_CLIENT",
        errors=(NotFound,),
    ),
    _change_clients(
        "DELETE",
        _CLIENT,
        client_handlers.delete_classic_client,
        action="DELETE_CLIENT",
        errors=(NotFound,),
    ),
    _change_clients(
        "POST",
        f"{_CLIENT}/regenerate-secret",
        client_handlers.renew_classic_client_secret,
        action="RENEW_CLIENT_SECRET",
        errors=(NotFound, PublicClient),
    ),
    _change_clients(
        "PUT",
        f"{_CLIENT}/status",
        client_handlers.set_classic_client_status,
        action="SET_CLIENT_STATUS",
        errors=(NotFound,),
    ),
]
