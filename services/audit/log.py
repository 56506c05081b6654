"""The log itself: one writer at a time gives each record a position and adds its leaf to the tree."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select, text, update
from sqlalchemy.exc import DataError
from sqlmodel import Session

from services.audit.keys import LogKeys
from services.audit.models import HORIZON, PERSONAL, RECORDS, TILES
from services.audit.proofs import (
    INTEGER_MAX,
    canonical,
    commitment,
    leaf_of,
    origin_text,
)
from services.audit.statements import LOG_ITSELF, LOG_SERVICE, ROOT
from services.audit.tree import HASH_BYTES, TILE_BYTES, TILE_HASHES, TileMissing, Tree, grown
from shared.clock import now
from shared.data.bulk import insert_rows
from shared.data.database import insert_into
from shared.ids import new_id

WRITER_LOCK = 0x61756469  # the key of PostgreSQL's advisory lock; SQLite has one writer anyway
DEPTH_MAX = 20
SALT_BYTES = 16
CHARACTERS_MAX = 256 * 1024  # of a text; the verifier reads lines of up to 16 MiB
TILES_MAX = 2**53 // TILE_HASHES  # of positions that JSON can hold
INDEXED_CHARACTERS_MAX = 600  # an index of PostgreSQL holds 2,704 bytes, and a character takes up to 4


@dataclass(frozen=True, slots=True)
class Entry:
    """A record before it has a position in the log."""

    action: str
    service: str
    actor: str
    resource: str
    outcome: str = "success"
    status: int = 200
    id: str = field(default_factory=new_id)
    timestamp: datetime = field(default_factory=now)
    user_id: str | None = None
    ip: str | None = None
    user_agent: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    request_id: str | None = None
    trace_id: str | None = None


def append(session: Session, entries: Sequence[Entry]) -> int:
    """Append the entries to the log; return the position of the first."""
    take_turn(session)
    edge = _last_tile(session, 0)
    first = edge[0] * TILE_HASHES + len(edge[1]) // HASH_BYTES
    received = _not_before_the_last(session, first, now())
    salts = os.urandom(2 * SALT_BYTES * len(entries)).hex()
    rows, leaves = [], []
    for number, entry in enumerate(entries):
        start = number * 4 * SALT_BYTES
        row = _row(entry, first + number, salts[start : start + 4 * SALT_BYTES])
        row["received"] = received
        rows.append(row)
        leaves.append(leaf_of(row | {"received": rfc3339(received), "timestamp": rfc3339(row["timestamp"])}))
    insert_rows(session, RECORDS, [{name: row[name] for name in _RECORD_COLUMNS} for row in rows])
    insert_rows(session, PERSONAL, [{name: row[name] for name in _PERSONAL_COLUMNS} for row in rows])
    grow(session, [leaf.digest() for leaf in leaves])
    return first


# Plain str: SQLAlchemy's names take three times as long to serialise to JSON.
_RECORD_COLUMNS = tuple(str(column.name) for column in RECORDS.c)
_PERSONAL_COLUMNS = tuple(str(column.name) for column in PERSONAL.c if not column.name.endswith("erased_by"))


def append_own(session: Session, keys: LogKeys, action: str, resource: str, said: dict[str, Any]) -> int:
    """Append a signed statement; anyone who can write to the database could insert an unsigned one.

    It is valid only after exactly the current records: not in another log, or in a copy with other records.
    """
    take_turn(session)
    size = size_of(session)
    rooted = {**said, ROOT: tree_of(session).root(size).hex()}
    signed = keys.sign_statement(size, action, resource, rooted)
    return append(session, [Entry(action, LOG_SERVICE, LOG_ITSELF, resource, metadata=signed)])


def take_turn(session: Session) -> None:
    """Lock the log against other writers until the transaction ends."""
    if session.get_bind().dialect.name != "sqlite":
        session.connection().execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": WRITER_LOCK})


def _row(entry: Entry, seq: int, salts: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "seq": seq,
        "id": entry.id,
        "user_id": entry.user_id and _storable(entry.user_id, INDEXED_CHARACTERS_MAX),
        "actor": _storable(entry.actor),
        "action": _storable(entry.action, INDEXED_CHARACTERS_MAX),
        "resource": _storable(entry.resource, INDEXED_CHARACTERS_MAX),
        "ip": entry.ip and _storable(entry.ip),
        "user_agent": entry.user_agent and _storable(entry.user_agent),
        "metadata": _bounded(canonical(_plain(entry.metadata))),
        "timestamp": entry.timestamp.astimezone(UTC),
        "outcome": entry.outcome,
        "status": entry.status,
        "service": entry.service,
        "request_id": entry.request_id and _storable(entry.request_id),
        "trace_id": entry.trace_id and _storable(entry.trace_id),
        "origin_salt": salts[: 2 * SALT_BYTES],
        "details_salt": salts[2 * SALT_BYTES :],
    }
    row["origin"] = commitment(row["origin_salt"], origin_text(row))
    row["details"] = commitment(row["details_salt"], row["metadata"])
    return row


def _storable(value: str, characters_max: int = CHARACTERS_MAX) -> str:
    """Shorten and clean a value: indexes and lines of an export have limits, and U+0000 cannot be stored."""
    value = value[:characters_max]
    return value.replace("\x00", "\ufffd") if "\x00" in value else value


def _bounded(metadata: str) -> str:
    """Events are much smaller; but the owner of the database can store larger ones in its inbox."""
    return metadata if len(metadata) <= CHARACTERS_MAX else canonical({"omitted": len(metadata)})


def _plain(value: Any, depth: int = 0) -> Any:
    """Values that every JSON parser reads the same way; others become strings."""
    if isinstance(value, dict | list) and depth == DEPTH_MAX:
        return json.dumps(value)
    if isinstance(value, dict):
        return {name: _plain(member, depth + 1) for name, member in value.items()}
    if isinstance(value, list):
        return [_plain(member, depth + 1) for member in value]
    is_number = isinstance(value, int | float)
    return str(value) if is_number and not abs(value) <= INTEGER_MAX else value


def _not_before_the_last(session: Session, size: int, moment: datetime) -> datetime:
    """Return this time, or the time of the last record if the clock went backwards."""
    of_last = select(RECORDS.c.received).where(RECORDS.c.seq == size - 1)
    try:
        last: datetime | None = session.connection().execute(of_last).scalar_one_or_none()
    except (ValueError, DataError):  # no log writes such a time; no record must be lost because of it
        return moment
    return moment if last is None else max(moment, last)


def grow(session: Session, leaves: Sequence[bytes]) -> None:
    """Append leaves to the tree."""
    changed = grown(lambda level: _last_tile(session, level), leaves)
    rows = [{"level": level, "number": number, "hashes": tile} for (level, number), tile in changed.items()]
    put = insert_into(session, TILES)
    session.connection().execute(
        put.on_conflict_do_update(index_elements=["level", "number"], set_={"hashes": put.excluded.hashes}),
        rows,
    )


def _last_tile(session: Session, level: int) -> tuple[int, bytes]:
    """Return the number of the tile that grows next, and its hashes."""
    of_level = select(TILES.c.number, TILES.c.hashes).where(TILES.c.level == level)
    row = session.connection().execute(of_level.order_by(TILES.c.number.desc()).limit(1)).one_or_none()
    if row is None:
        return 0, b""
    # The next leaf would follow a part of one, and no proof would fit again; or it would have no position.
    if len(row.hashes) % HASH_BYTES or row.number >= TILES_MAX:
        raise TileMissing
    return (row.number, bytes(row.hashes)) if len(row.hashes) < TILE_BYTES else (row.number + 1, b"")


def size_of(session: Session) -> int:
    """Return the number of records that the log has ever had."""
    number, tile = _last_tile(session, 0)
    return number * TILE_HASHES + len(tile) // HASH_BYTES


def tree_of(session: Session) -> Tree:
    """Return the tree as this transaction sees it."""

    def read_tile(level: int, number: int) -> bytes:
        one = select(TILES.c.hashes).where(TILES.c.level == level, TILES.c.number == number)
        return bytes(session.connection().execute(one).scalar_one_or_none() or b"")

    return Tree(read_tile)


def kept_from(session: Session) -> int:
    """Return the number of the first record whose content is kept."""
    seq: int = session.connection().execute(select(HORIZON.c.kept_from)).scalar_one()
    return seq


def move_horizon(session: Session, seq: int) -> None:
    session.connection().execute(update(HORIZON).values(kept_from=seq))


def rfc3339(moment: datetime) -> str:
    """Return a timestamp as hashed in the tree: to the microsecond, in UTC."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
