"""The endpoints for OAuth clients."""

from datetime import timedelta

from sqlmodel import Session

from services.auth.clients import changes
from services.auth.clients.clients import locked_client
from services.auth.clients.schemas import (
    ChangeClient,
    ClientOut,
    ClientStatus,
    CreateClient,
    NewClientOut,
    NewSecret,
    SecretOut,
)
from services.auth.models import CLIENTS, Client
from services.auth.revocations.log import RevocationLog
from shared.caller import Caller
from shared.errors import NotFound
from shared.http.schemas import Id, Page
from shared.lists.pagination import PageQuery, paginate_equal


def create_client(body: CreateClient, caller: Caller, session: Session) -> NewClientOut:
    """Register an OAuth client. Its secret is shown only once."""
    client, secret = changes.create(session, body, caller.id)
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
    changes.change(session, client, body, revocations)
    return ClientOut.of(client.model_dump())


def set_client_status(
    row_id: Id, body: ClientStatus, session: Session, revocations: RevocationLog
) -> ClientOut:
    """Enable or disable an OAuth client. Disabling revokes its tokens, and it gets no new ones."""
    client = locked_client(session, row_id)
    changes.set_status(session, client, revocations, is_active=body.is_active)
    return ClientOut.of(client.model_dump())


def renew_client_secret(row_id: Id, body: NewSecret | None, session: Session) -> SecretOut:
    """Create a new client secret, shown only once. The previous one stays valid for a while."""
    overlap = timedelta(seconds=(body or NewSecret()).overlap_seconds)
    client, secret = changes.new_secret(session, row_id, overlap)
    return SecretOut(client_secret=secret, previous_secret_expires=client.previous_secret_expires)


def delete_client(row_id: Id, session: Session, revocations: RevocationLog) -> None:
    """Delete an OAuth client and revoke all of its tokens."""
    changes.delete(session, row_id, revocations)
