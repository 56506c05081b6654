"""Handlers of OAuth clients in the older form; they do what the handlers of the native form do."""

from datetime import timedelta

from sqlmodel import Session

from services.auth.classic.schemas import (
    AddOldClient,
    ChangeOldClient,
    NewOldClient,
    OldClient,
    OldClientPage,
    OldClientStatus,
    OldClientStatusOut,
    OldSecretOut,
)
from services.auth.clients import changes
from services.auth.clients.clients import locked_client
from services.auth.models import CLIENTS, Client
from services.auth.revocations.log import RevocationLog
from shared.caller import Caller
from shared.errors import NotFound
from shared.http.schemas import Done, Id
from shared.lists.numbered import ByNumber, page_of


def create_classic_client(body: AddOldClient, caller: Caller, session: Session) -> NewOldClient:
    """Register an OAuth client. Its secret is shown only once."""
    client, secret = changes.create(session, body.native(), caller.id)
    return NewOldClient.of(client.model_dump(), client_secret=secret)


def list_classic_clients(query: ByNumber, session: Session) -> OldClientPage:
    """List OAuth clients, newest first."""
    rows, total = page_of(session, CLIENTS, [{}], query)
    return OldClientPage(clients=[OldClient.of(row) for row in rows], **query.described(total))


def show_classic_client(row_id: Id, session: Session) -> OldClient:
    """Show an OAuth client."""
    client = session.get(Client, row_id)
    if client is None:
        raise NotFound
    return OldClient.of(client.model_dump())


def change_classic_client(
    row_id: Id, body: ChangeOldClient, session: Session, revocations: RevocationLog
) -> OldClient:
    """Replace an OAuth client. If scopes or grant types are removed, its access tokens are revoked."""
    client = locked_client(session, row_id)
    changes.change(session, client, body.native(client), revocations)
    return OldClient.of(client.model_dump())


def delete_classic_client(row_id: Id, session: Session, revocations: RevocationLog) -> Done:
    """Delete an OAuth client and revoke all of its tokens."""
    changes.delete(session, row_id, revocations)
    return Done()


def renew_classic_client_secret(row_id: Id, session: Session) -> OldSecretOut:
    """Create a new client secret, shown only once. The previous one is invalid at once."""
    return OldSecretOut(client_secret=changes.new_secret(session, row_id, timedelta())[1])


def set_classic_client_status(
    row_id: Id, body: OldClientStatus, session: Session, revocations: RevocationLog
) -> OldClientStatusOut:
    """Enable or disable an OAuth client. Disabling revokes its tokens, and it gets no new ones."""
    changes.set_status(session, locked_client(session, row_id), revocations, is_active=body.is_active)
    return OldClientStatusOut(is_active=body.is_active)
