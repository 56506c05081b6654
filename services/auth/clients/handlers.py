"""The endpoints for OAuth clients."""

from datetime import timedelta

from sqlmodel import Session

from services.auth.clients.clients import apply, end_tokens, locked_client
from services.auth.clients.schemas import (
    ChangeClient,
    ClientOut,
    ClientStatus,
    CreateClient,
    NewClientOut,
    NewSecret,
    SecretOut,
)
from services.auth.clients.secrets import renew_secret
from services.auth.errors import PublicClient
from services.auth.models import CLIENTS, Client
from services.auth.revocations.log import RevocationLog
from shared.caller import Caller
from shared.errors import FieldFault, Invalid, NotFound
from shared.http.schemas import Id, Page
from shared.lists.pagination import PageQuery, paginate_equal


def create_client(body: CreateClient, caller: Caller, session: Session) -> NewClientOut:
    """Register an OAuth client. Its secret is shown only once."""
    client = Client(name=body.name, is_public=body.is_public, created_by=caller.id)
    apply(client, body)
    secret = None if body.is_public else renew_secret(client, timedelta())
    session.add(client)
    return NewClientOut.of(client.model_dump() | {"client_secret": secret})


def list_clients(query: PageQuery, session: Session) -> Page[ClientOut]:
    """List OAuth clients, newest first."""
    return paginate_equal(session, CLIENTS, {}, query, ClientOut.of)


def show_client(row_id: Id, session: Session) -> ClientOut:
    """Show an OAuth client."""
    client = session.get(Client, row_id)
    if client is None:
        raise NotFound
    return ClientOut.of(client.model_dump())


def change_client(row_id: Id, body: ChangeClient, session: Session, revocations: RevocationLog) -> ClientOut:
    """Replace an OAuth client. If scopes or grant types are removed, its access tokens are revoked."""
    client = locked_client(session, row_id)
    try:
        body.refuse_for(is_public=client.is_public)
    except ValueError as error:
        raise Invalid(errors=[FieldFault(field="body", code="value_error", message=str(error))]) from error
    before = {*client.scopes.split(), *client.grant_types.split()}
    apply(client, body)
    if before - {*client.scopes.split(), *client.grant_types.split()}:
        end_tokens(session, client, revocations)
    return ClientOut.of(client.model_dump())


def set_client_status(
    row_id: Id, body: ClientStatus, session: Session, revocations: RevocationLog
) -> ClientOut:
    """Enable or disable an OAuth client. Disabling revokes its tokens, and it gets no new ones."""
    client = locked_client(session, row_id)
    if client.is_active and not body.is_active:
        end_tokens(session, client, revocations)
    client.is_active = body.is_active
    return ClientOut.of(client.model_dump())


def renew_client_secret(row_id: Id, body: NewSecret | None, session: Session) -> SecretOut:
    """Create a new client secret, shown only once. The previous one stays valid for a while."""
    client = locked_client(session, row_id)
    if client.is_public:
        raise PublicClient
    secret = renew_secret(client, timedelta(seconds=(body or NewSecret()).overlap_seconds))
    return SecretOut(client_secret=secret, previous_secret_expires=client.previous_secret_expires)


def delete_client(row_id: Id, session: Session, revocations: RevocationLog) -> None:
    """Delete an OAuth client and revoke all of its tokens."""
    client = locked_client(session, row_id)
    end_tokens(session, client, revocations)
    session.delete(client)
