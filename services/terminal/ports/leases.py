"""Leases of ports, and the visits of browsers to them.

A leased port has a host name of its own below PORTS_DOMAIN, so that browsers isolate its pages from all
others. A browser enters a port that is not public with a single-use ticket, and then has a cookie of that
host name.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from contracts.ports import FIRST_PORT
from services.terminal.errors import PortTaken, TooManyPorts
from services.terminal.models import BOXES, PORTS, VISITS, BoxState, Visibility, VisitKind
from services.terminal.tickets import packed, unpacked
from shared.caller import Caller
from shared.clock import now
from shared.data.database import one_row
from shared.data.statements import insert_row
from shared.errors import NotFound, TooManyRequests
from shared.hashing import sha256_hex

HOST_BYTES = 6
TOKEN_BYTES = 32
TOKEN_CHARACTERS_MAX = 100
TICKET_SECONDS = 30.0
VISITS_PER_ACCOUNT = 100
VISIT_HOURS_MAX = timedelta(hours=12)


class Leased(NamedTuple):
    """A lease, its box if that is running, and who visits it, if known."""

    row: Mapping[str, Any]
    box_id: str | None
    visitor: Caller | None


def lease(session: Session, owner: str, wanted: Mapping[str, Any], ports_max: int) -> dict[str, Any]:
    """Insert a lease of the wanted port, or else of the lowest one that this account has not leased."""
    run = session.connection().execute
    run(delete(PORTS).where(PORTS.c.owner == owner, PORTS.c.expires < now()))
    taken = {row.port: row.id for row in run(select(PORTS.c.port, PORTS.c.id).where(PORTS.c.owner == owner))}
    if len(taken) >= ports_max:
        raise TooManyPorts
    port = wanted["port"] or next(one for one in range(FIRST_PORT, 65536) if one not in taken)
    if port in taken:
        raise PortTaken(lease=taken[port])
    name = wanted["name"] or f"port-{port}"
    # The random part keeps names from being guessed, and from looking like those of other sites.
    host = f"{name}-{secrets.token_hex(HOST_BYTES)}"
    values = {"name": name, "host": host, "visibility": wanted["visibility"]}
    expires = now() + timedelta(hours=wanted["hours"])
    try:
        with session.begin_nested():
            return insert_row(session, PORTS, owner=owner, port=port, **values, expires=expires)
    except IntegrityError as error:  # a concurrent request was first
        raise PortTaken from error


def of_owner(session: Session, owner: str) -> list[dict[str, Any]]:
    found = select(PORTS).where(PORTS.c.owner == owner, PORTS.c.expires > now()).order_by(PORTS.c.port)
    return [row._asdict() for row in session.connection().execute(found)]


def release(session: Session, owner: str, lease_id: str) -> dict[str, Any]:
    row = one_row(session, select(PORTS).where(PORTS.c.id == lease_id, PORTS.c.owner == owner))
    if row is None:
        raise NotFound
    _delete(session, [lease_id])
    return row


def visitable(session: Session, lease_id: str, caller: Caller) -> dict[str, Any]:
    """Return a lease that this account may open; private ones are only for their owner."""
    row = one_row(session, select(PORTS).where(PORTS.c.id == lease_id, PORTS.c.expires > now()))
    if row is None or (row["visibility"] == Visibility.PRIVATE and row["owner"] != caller.id):
        raise NotFound
    return row


def invite(session: Session, lease: Mapping[str, Any], caller: Caller) -> tuple[str, datetime]:
    """Return a ticket with which a browser of this account enters a port once."""
    run = session.connection().execute
    run(delete(VISITS).where(VISITS.c.visitor == caller.id, VISITS.c.expires < now()))
    mine = VISITS.c.visitor == caller.id, VISITS.c.kind == VisitKind.TICKET
    if run(select(func.count()).select_from(VISITS).where(*mine)).scalar_one() >= VISITS_PER_ACCOUNT:
        raise TooManyRequests(headers={"Retry-After": str(int(TICKET_SECONDS))})
    expires = now() + timedelta(seconds=TICKET_SECONDS)
    return _insert(session, VisitKind.TICKET, lease["id"], caller.id, packed(caller), expires), expires


def enter(session: Session, host: str, ticket: str) -> tuple[str, datetime] | None:
    """Exchange a ticket for the value of a cookie; None if it is not valid for this host."""
    if not 0 < len(ticket) <= TOKEN_CHARACTERS_MAX:
        return None
    run = session.connection().execute
    is_mine = (VISITS.c.hash == sha256_hex(ticket), VISITS.c.kind == VisitKind.TICKET)
    visit = run(delete(VISITS).where(*is_mine).returning(*VISITS.c)).one_or_none()
    row = one_row(session, select(PORTS).where(PORTS.c.host == host))
    if visit is None or visit.expires < now() or row is None or row["id"] != visit.lease_id:
        return None
    expires: datetime = min(row["expires"], now() + VISIT_HOURS_MAX)
    if expires <= now():
        return None
    mine = VISITS.c.visitor == visit.visitor, VISITS.c.kind == VisitKind.COOKIE
    newest = select(VISITS.c.hash).where(*mine).order_by(VISITS.c.expires.desc())
    older = run(newest.offset(VISITS_PER_ACCOUNT - 1)).scalars().all()
    run(delete(VISITS).where(VISITS.c.hash.in_(older)))
    return _insert(session, VisitKind.COOKIE, row["id"], visit.visitor, visit.caller, expires), expires


def _insert(
    session: Session, kind: VisitKind, lease_id: str, visitor: str, caller: str, expires: datetime
) -> str:
    token = secrets.token_urlsafe(TOKEN_BYTES)
    values = {"lease_id": lease_id, "visitor": visitor, "caller": caller, "expires": expires}
    session.connection().execute(VISITS.insert().values(hash=sha256_hex(token), kind=kind, **values))
    return token


def resolve(session: Session, host: str, cookies: Sequence[str]) -> Leased:
    """Find the lease of a host name, and the visitor that one of these cookies belongs to."""
    run = session.connection().execute
    row = one_row(session, select(PORTS).where(PORTS.c.host == host, PORTS.c.expires > now()))
    if row is None:
        raise NotFound
    running = select(BOXES.c.id).where(BOXES.c.owner == row["owner"], BOXES.c.state == BoxState.RUNNING)
    box_id = run(running).scalar_one_or_none()
    visitor = None
    if row["visibility"] != Visibility.PUBLIC and cookies:
        hashes = [sha256_hex(one) for one in cookies if len(one) <= TOKEN_CHARACTERS_MAX]
        mine = select(VISITS.c.caller).where(
            VISITS.c.hash.in_(hashes), VISITS.c.kind == VisitKind.COOKIE, VISITS.c.lease_id == row["id"]
        )
        found = run(mine.where(VISITS.c.expires > now())).scalars().first()
        visitor = unpacked(found) if found else None
    return Leased(row, box_id, visitor)


def forget_expired(session: Session, rows_max: int) -> list[dict[str, Any]]:
    """Delete leases and visits that have expired; return the leases."""
    run = session.connection().execute
    found = [row._asdict() for row in run(select(PORTS).where(PORTS.c.expires < now()).limit(rows_max))]
    _delete(session, [row["id"] for row in found])
    run(delete(VISITS).where(VISITS.c.expires < now()))
    return found


def forget_revoked(session: Session, is_revoked: Callable[[Caller], bool]) -> None:
    """Delete the visits of revoked callers, because a cookie lasts longer than revocations are remembered."""
    run = session.connection().execute
    rows = run(select(VISITS.c.hash, VISITS.c.caller)).all()
    gone = [row.hash for row in rows if is_revoked(unpacked(row.caller))]
    if gone:
        run(delete(VISITS).where(VISITS.c.hash.in_(gone)))


def forget_account(session: Session, account: str) -> None:
    """Delete the leases and visits of an account."""
    session.connection().execute(delete(VISITS).where(VISITS.c.visitor == account))
    mine = session.connection().execute(select(PORTS.c.id).where(PORTS.c.owner == account))
    _delete(session, [row.id for row in mine])


def _delete(session: Session, lease_ids: Sequence[str]) -> None:
    run = session.connection().execute
    run(delete(VISITS).where(VISITS.c.lease_id.in_(lease_ids)))
    run(delete(PORTS).where(PORTS.c.id.in_(lease_ids)))
