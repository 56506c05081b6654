"""OAuth clients, for admins."""

from services.auth.clients import handlers
from services.auth.errors import PublicClient
from shared.errors import NotFound
from shared.http.operations import Operation
from shared.identity.step_up import RECENT
from shared.identity.tokens import admin

_CLIENTS, _CLIENT = "/clients", "/clients/{row_id}"
_SCOPE = "admin:clients"

OPERATIONS = [
    Operation(
        "POST",
        _CLIENTS,
        handlers.create_client,
        access=admin,
        scope=_SCOPE,
        step_up=RECENT,
        status=201,
        location="/clients/{id}",
        idempotent=True,
    ),
    Operation("GET", _CLIENTS, handlers.list_clients, access=admin, scope=_SCOPE),
    Operation("GET", _CLIENT, handlers.show_client, access=admin, scope=_SCOPE),
    Operation(
        "PUT", _CLIENT, handlers.change_client, access=admin, scope=_SCOPE, step_up=RECENT, errors=(NotFound,)
    ),
    Operation(
        "DELETE",
        _CLIENT,
        handlers.delete_client,
        access=admin,
        scope=_SCOPE,
        step_up=RECENT,
        status=204,
        errors=(NotFound,),
    ),
    Operation(
        "PUT",
        f"{_CLIENT}/status",
        handlers.set_client_status,
        access=admin,
        scope=_SCOPE,
        step_up=RECENT,
        errors=(NotFound,),
    ),
    Operation(
        "POST",
        f"{_CLIENT}/regenerate-secret",
        handlers.renew_client_secret,
        access=admin,
        scope=_SCOPE,
        step_up=RECENT,
        errors=(NotFound, PublicClient),
    ),
]
