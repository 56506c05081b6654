"""Steps of attacks by the owner of the database, and what each way of checking the log says afterwards."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text
from sqlmodel import Session

from services.audit.checking import Verification
from services.audit.erasure import ask_for_erasure, erase_due
from services.audit.handlers import place_hold
from services.audit.holds import state_hold
from services.audit.log import Entry, append, grow, size_of
from services.audit.models import HOLDS
from services.audit.opening import open_log
from services.audit.proofs import Erasure, leaf_of
from services.audit.queries import read_places
from services.audit.schemas import PlaceHold
from services.audit.statements import LOG_ITSELF, LOG_SERVICE
from services.audit.tree import TileMissing
from shared.clock import now
from tests.audit.support import BOB, Log, entry

JANUARY, FEBRUARY, MARCH = (datetime(2026, month, 10, tzinfo=UTC) for month in (1, 2, 3))

Attack = Callable[[Log], None]


def erase(log: Log, *accounts: str) -> None:
    with log.database.transaction() as session:
        ask_for_erasure(session, accounts)
    erase_due(log.database, log.checkpoints.keys)


def deletion(account: str) -> Any:
    return entry(None, action="DELETE_ACCOUNT", service="auth", resource=account, actor="service:users")


def verdict(*checked: Verification) -> str:
    if any(one.faults for one in checked):
        return "tampered"
    return "unproven" if any(one.unproven for one in checked) else "ok"


def by_verifier(log: Log) -> str:
    try:
        return verdict(log.check(log.lines()))
    except TileMissing:  # the export responds with a 503 that refers to GET /audit/verify
        return "tampered"


def by_part(log: Log, account: str = BOB) -> str:
    return verdict(log.check(log.lines(log.partial(account))))


def by_service(log: Log) -> str:
    return verdict(log.verify().verification)


def in_ranges(log: Log) -> str:
    found, first = [], 0
    while True:
        checked = log.verify(first, limit=2)
        found.append(checked.verification)
        if checked.end >= checked.size or checked.end <= first:
            return verdict(*found)
        first = checked.end


def blank(seq: int, by: int, part: str = "details") -> str:
    columns = ("metadata",) if part == "details" else ("ip", "user_agent")
    emptied = ", ".join(f"{column} = NULL" for column in (*columns, f"{part}_salt"))
    return f"UPDATE personal SET {emptied}, {part}_erased_by = {by} WHERE seq = {seq}"


def owner(*statements: str) -> Attack:
    return lambda log: log.tamper(*statements)


def forged(log: Log, action: str, resource: str, said: dict[str, Any]) -> int:
    """Append a well-formed record that claims to be a statement of the log."""
    with log.database.transaction() as session:
        one = entry(None, action=action, service="audit", actor="log", resource=resource, metadata=said)
        return append(session, [one])


def legacy(seq: int, *parts: str) -> dict[str, Any]:
    erasure = Erasure(seq)
    for part in parts:
        erasure.add(seq, part)
    return {"first": seq, "places": erasure.places, "digest": erasure.digest.hexdigest()}


def hold(log: Log, account: str) -> None:
    with log.database.transaction() as session:
        session.connection().execute(HOLDS.insert().values(user_id=account, reason="a case", created=now()))
        state_hold(session, log.checkpoints.keys, account)


def gone(first: int) -> Attack:
    tables = ("records", "personal")
    return owner(
        *(f"DELETE FROM {table} WHERE seq < {first}" for table in tables),
        f"UPDATE horizon SET kept_from = {first}",
    )


def actions(log: Log) -> list[str]:
    with log.database.engine.connect() as connection:
        return list(connection.execute(text("SELECT action FROM records ORDER BY seq")).scalars())


LOOKS = [by_verifier, by_service, in_ranges]


def opened(log: Log) -> Log:
    with log.database.transaction() as session:
        open_log(session, log.checkpoints.keys)
    return log


def put_hold(log: Log, account: str) -> None:
    with log.database.transaction() as session:
        place_hold(account, PlaceHold(reason="a case"), session, log.checkpoints.keys)
    log.sign()


def row(session: Session, table: str, seq: int) -> dict[str, Any]:
    found = text(f"SELECT * FROM {table} WHERE seq = {seq}")
    return dict(session.connection().execute(found).mappings().one())


def transplant(seq: int, source: Log, target: Log) -> None:
    """Copy a statement to the end of another log."""
    with source.database.transaction(write=False) as session:
        (line,) = read_places(session, [seq])
        rows = {table: row(session, table, seq) for table in ("records", "personal")}
    with target.database.transaction() as session:
        for table, values in rows.items():
            names, places = ", ".join(values), ", ".join(f":{name}" for name in values)
            session.connection().execute(text(f"INSERT INTO {table} ({names}) VALUES ({places})"), values)
        grow(session, [leaf_of(line).digest()])
    target.sign()


def append_without_root(log: Log, action: str, resource: str, said: dict[str, Any]) -> int:
    """Append a statement as older versions did, which had no root in it."""
    keys = log.checkpoints.keys
    with log.database.transaction() as session:
        seq = size_of(session)
        signed = keys.sign_statement(seq, action, resource, said)
        return append(session, [Entry(action, LOG_SERVICE, LOG_ITSELF, resource, metadata=signed)])
