"""Idempotency-Key: a repeated request gets the first response again; its effect happens once."""

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import (
    Column,
    ColumnElement,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    delete,
    select,
    update,
)
from sqlmodel import Session

from shared.clock import now
from shared.data.database import UtcDateTime, insert_into
from shared.data.sealed import Sealer
from shared.errors import BadRequest, Problem

TABLE = "idempotency_keys"
KEY_CHARACTERS_MAX = 255
KEYS_KEPT = timedelta(hours=24)
EXPIRED_PER_CLAIM_MAX = 100


class KeyReused(Problem):
    """This Idempotency-Key was used before with another request. Use a new key for a new request."""

    status = 422
    code = "idempotency_key_reused"


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete response, as sent and as stored for repeated requests."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """One key of one caller for one operation; the fingerprint identifies the request."""

    value: str
    scope: str
    fingerprint: str

    @classmethod
    def parse(cls, header: str, *, caller_id: str, operation: str, request: bytes) -> "IdempotencyKey":
        if not header.isascii() or not header.isprintable() or not 1 <= len(header) <= KEY_CHARACTERS_MAX:
            raise BadRequest(f"Idempotency-Key must be 1 to {KEY_CHARACTERS_MAX} printable ASCII characters.")
        return cls(header, f"{caller_id} {operation}", hashlib.sha256(request).hexdigest())


class IdempotencyStore:
    """Responses by key, in the service's own database, so that response and effect commit together."""

    def __init__(self, metadata: MetaData, sealer: Sealer | None = None) -> None:
        known = metadata.tables.get(TABLE)
        self.table = _table(metadata) if known is None else known
        self._sealer = sealer

    def sealed_by(self, sealer: Sealer) -> "IdempotencyStore":
        """Return a store in the same table that seals the bodies, for responses that show a secret."""
        return IdempotencyStore(self.table.metadata, sealer)

    def claim(self, session: Session, key: IdempotencyKey) -> Reply | None:
        """Claim the key, or return its stored response.

        A concurrent request with the same key waits here until the first has committed: on PostgreSQL for the
        row lock, on SQLite for the write lock.
        """
        self._forget_expired(session)
        row = {"scope": key.scope, "key": key.value, "fingerprint": key.fingerprint, "created": now()}
        taking = (
            insert_into(session, self.table).values(row).on_conflict_do_nothing().returning(self.table.c.key)
        )
        if session.connection().execute(taking).first() is not None:
            return None
        found = session.connection().execute(select(self.table).where(*self._is(key))).one()
        if found.fingerprint != key.fingerprint:
            raise KeyReused
        headers = tuple((name, value) for name, value in json.loads(found.headers))
        body = (
            self._sealer.open(found.body.decode(), *self._place(key)).encode() if self._sealer else found.body
        )
        return Reply(found.status, (*headers, ("idempotency-replayed", "true")), body)

    def keep(self, session: Session, key: IdempotencyKey, reply: Reply) -> None:
        body = reply.body
        if self._sealer:
            body = self._sealer.seal(body.decode(), *self._place(key)).encode()
        answer = {"status": reply.status, "headers": json.dumps(reply.headers), "body": body}
        session.connection().execute(update(self.table).where(*self._is(key)).values(answer))

    def _forget_expired(self, session: Session) -> None:
        table = self.table
        old = (
            select(table.c.scope, table.c.key)
            .where(table.c.created < now() - KEYS_KEPT)
            .limit(EXPIRED_PER_CLAIM_MAX)
            .with_for_update(skip_locked=True)  # another request is deleting these
        )
        for row in session.connection().execute(old).all():
            session.connection().execute(
                delete(table).where(table.c.scope == row.scope, table.c.key == row.key)
            )

    def _place(self, key: IdempotencyKey) -> tuple[str, ...]:
        return self.table.name, "body", key.scope, key.value

    def _is(self, key: IdempotencyKey) -> tuple[ColumnElement[bool], ...]:
        return self.table.c.scope == key.scope, self.table.c.key == key.value


def _table(metadata: MetaData) -> Table:
    return Table(
        TABLE,
        metadata,
        Column("scope", String(200), primary_key=True),
        Column("key", String(KEY_CHARACTERS_MAX), primary_key=True),
        Column("fingerprint", String(64), nullable=False),
        Column("created", UtcDateTime, nullable=False, index=True),
        Column("status", Integer),
        Column("headers", Text),
        Column("body", LargeBinary),
    )
