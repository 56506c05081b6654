"""Changes of OAuth clients by admins, inside the caller's transaction."""

from datetime import timedelta

from sqlmodel import Session

from services.auth.clients.clients import apply, end_tokens, locked_client
from services.auth.clients.schemas import ChangeClient, CreateClient
from services.auth.clients.secrets import renew_secret
from services.auth.errors import PublicClient
from services.auth.models import Client
from services.auth.revocations.log import RevocationLog
from shared.errors import FieldFault, Invalid


def create(session: Session, body: CreateClient, admin_id: str) -> tuple[Client, str | None]:
    """Return a new client and its secret, which a public client does not have."""
    client = Client(name=body.name, is_public=body.is_public, created_by=admin_id)
    apply(client, body)
    secret = None if body.is_public else renew_secret(client, timedelta())
    session.add(client)
    return client, secret


def change(session: Session, client: Client, body: ChangeClient, revocations: RevocationLog) -> None:
    """Replace all fields of a locked client. Losing a scope or grant type ends its access tokens."""
    try:
        body.refuse_for(is_public=client.is_public)
    except ValueError as error:
        raise Invalid(errors=[FieldFault(field="body", code="value_error", message=str(error))]) from error
    before = {*client.scopes.split(), *client.grant_types.split()}
    apply(client, body)
    if before - {*client.scopes.split(), *client.grant_types.split()}:
        end_tokens(session, client, revocations)


def set_status(session: Session, client: Client, revocations: RevocationLog, *, is_active: bool) -> None:
    if client.is_active and not is_active:
        end_tokens(session, client, revocations)
    client.is_active = is_active


def new_secret(session: Session, row_id: str, overlap: timedelta) -> tuple[Client, str]:
    """Create another secret; the previous one stays valid during the overlap."""
    client = locked_client(session, row_id)
    if client.is_public:
        raise PublicClient
    return client, renew_secret(client, overlap)


def delete(session: Session, row_id: str, revocations: RevocationLog) -> None:
    client = locked_client(session, row_id)
    end_tokens(session, client, revocations)
    session.delete(client)
