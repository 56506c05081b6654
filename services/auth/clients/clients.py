"""OAuth clients in the database."""

from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from sqlalchemy import bindparam, select
from sqlmodel import Session

from services.auth.clients.schemas import ChangeClient
from services.auth.clients.scopes import text
from services.auth.models import CLIENTS, Client
from services.auth.revocations.log import RevocationLog
from services.auth.tables import ID_CHARACTERS
from shared.clock import now
from shared.data.statements import Rows
from shared.data.together import read_once
from shared.errors import NotFound
from shared.identity.revocations import Kind


@dataclass(frozen=True, slots=True)
class KnownClient:
    """A read-only client for the OAuth server, which costs a tenth of loading one that can be changed."""

    id: str
    name: str
    is_public: bool
    is_first_party: bool
    is_active: bool
    redirect_uris: str
    post_logout_redirect_uris: str
    scopes: str
    grant_types: str
    secret_hash: str | None
    previous_secret_hash: str | None
    previous_secret_expires: datetime | None
    version: int

    @property
    def client_id(self) -> str:
        return self.id


_KNOWN = Rows(
    select(*(CLIENTS.c[one.name] for one in fields(KnownClient))).where(CLIENTS.c.id == bindparam("named"))
)


def client_named(session: Session, client_id: str) -> KnownClient | None:
    """Return the client with this OAuth client_id."""
    if len(client_id) != ID_CHARACTERS or not (client_id.isascii() and client_id.isprintable()):
        return None
    return read_once(session, (KnownClient, client_id), lambda: _read(session, client_id))


def _read(session: Session, client_id: str) -> KnownClient | None:
    row = _KNOWN.one(session, named=client_id)
    return None if row is None else KnownClient(**row)


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
