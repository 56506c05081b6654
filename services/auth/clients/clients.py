"""OAuth clients in the database."""

from datetime import timedelta

from sqlmodel import Session

from services.auth.clients.schemas import ChangeClient
from services.auth.clients.scopes import text
from services.auth.models import Client
from services.auth.revocations.log import RevocationLog
from services.auth.tables import ID_CHARACTERS
from shared.clock import now
from shared.errors import NotFound
from shared.identity.revocations import Kind


def client_named(session: Session, client_id: str) -> Client | None:
    """Return the client with this OAuth client_id."""
    is_one = len(client_id) == ID_CHARACTERS and client_id.isascii() and client_id.isprintable()
    return session.get(Client, client_id) if is_one else None


def locked_client(session: Session, row_id: str) -> Client:
    client = session.get(Client, row_id, with_for_update=True, populate_existing=True)
    if client is None:
        raise NotFound
    return client


def apply(client: Client, body: ChangeClient) -> None:
    client.name, client.description = body.name, body.description
    client.is_first_party = body.is_first_party
    client.redirect_uris = "\n".join(dict.fromkeys(body.redirect_uris))
    client.post_logout_redirect_uris = "\n".join(dict.fromkeys(body.post_logout_redirect_uris))
    client.scopes = text(set(body.scopes))
    client.grant_types = " ".join(sorted(set(body.grant_types)))
    client.updated = max(now(), client.updated + timedelta(microseconds=1))


def end_tokens(session: Session, client: Client, revocations: RevocationLog) -> None:
    """Revoke all access tokens of the client."""
    client.version += 1
    revocations.add(session, Kind.CLIENT, [client.client_id], below=client.version)
