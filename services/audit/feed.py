"""Feeds the verification with a range of the log, and with statements outside it that explain the range."""

from functools import partial
from typing import Any

from sqlalchemy import select
from sqlmodel import Session

from services.audit.checking import Verification
from services.audit.errors import NotYetSigned
from services.audit.export import FullExport, Pinned
from services.audit.log import tree_of
from services.audit.models import CHECKPOINTS, RECORDS
from services.audit.proofs import NotAnExport, leaf_of
from services.audit.queries import (
    LISTABLE,
    PLACES_AT_ONCE,
    erased_by,
    read_erasures,
    read_places,
    read_range,
    scan,
)
from services.audit.statements import ACCOUNT_DELETED, LASTING, LOG_ITSELF, RETENTION_CUT, is_deletion
from services.audit.tree import TileMissing
from shared.data.database import Database

_ODD_ID = "lists may hide the records after it: no list can continue after its id"
_OTHER_TREE = "the hashes of the tree are not those that were signed"
_BEFORE = f"actor = '{LOG_ITSELF}' AND action IN ({', '.join(map(repr, LASTING))})"
_AFTER = f"actor = '{LOG_ITSELF}' AND action = '{RETENTION_CUT}'"


def pinned(session: Session, size: int | None = None) -> Pinned:
    """Return the oldest checkpoint of at least this size; the newest by default."""
    statement = select(CHECKPOINTS.c.size, CHECKPOINTS.c.note)
    if size is None:
        statement = statement.order_by(CHECKPOINTS.c.size.desc())
    else:
        statement = statement.where(CHECKPOINTS.c.size >= size).order_by(CHECKPOINTS.c.size)
    row = session.connection().execute(statement.limit(1)).one_or_none()
    if row is None:
        raise NotYetSigned
    return Pinned(row.size, row.note)


def check(database: Database, export: FullExport, verification: Verification, size: int) -> None:
    """Check a range of a log of this size, in transactions of a chunk each."""
    feed = _Feed(export, verification, size)
    try:
        with database.transaction(write=False) as session:
            verification.begin(export.header(session))
            feed.elsewhere(session)
        is_going_on = True
        while is_going_on:
            with database.transaction(write=False) as session:
                is_going_on = feed.chunk(session)
        with database.transaction(write=False) as session:
            feed.deletions(session)
        verification.finish()
    except TileMissing:
        verification.report("removed", verification.place, "the hashes of the tree are missing from here on")
    except NotAnExport as error:
        verification.report("changed", verification.place, str(error))


class _Feed:
    """Statements from outside the range are compared only with their own hash and signature.

    The rest of them is checked with the range they are in.
    """

    def __init__(self, export: FullExport, verification: Verification, size: int) -> None:
        self._export, self._verification, self._size = export, verification, size

    def elsewhere(self, session: Session) -> None:
        first, end = self._export.first, self._export.end
        before = scan(session, 0, first, _BEFORE)
        after = scan(session, end, self._size, _AFTER)
        self._state(session, read_places(session, [*before, *after]))
        for line in read_range(session, first - 1, first):
            self._verification.follows(line["received"])

    def chunk(self, session: Session) -> bool:
        """Return a chunk in a transaction of its own; False after the last."""
        lines: list[dict[str, Any]] = self._export.chunk(session)
        tree = tree_of(session)
        later = {by for by in erased_by(lines) if self._export.end <= by < self._size}
        known = self._verification.ledger.statements
        self._state(session, read_erasures(session, later - known.keys()))
        for line in lines:
            if line["type"] == "record":
                self._verification.add_record(line)
                if LISTABLE.fullmatch(str(line["id"])) is None:
                    self._verification.doubt(line["seq"], _ODD_ID)
            elif line["type"] == "checkpoint":
                said = self._verification.add_checkpoint(line["note"])
                # The stored tree, from which proofs are made, must match the records.
                if said is not None and tree.root(said.size) != said.root:
                    self._verification.report("changed", self._verification.place, _OTHER_TREE)
        return bool(lines)

    def _state(self, session: Session, lines: list[dict[str, Any]]) -> None:
        tree = tree_of(session)
        for line in lines:
            self._verification.add_statement(line, before=partial(tree.root, line["seq"]))

    def deletions(self, session: Session) -> None:
        """Look in the rest of the log, too, for the deletions of accounts that were erased in this range.

        An index only says where to look: the record itself must be such a deletion.
        """
        service, action, outcome = ACCOUNT_DELETED
        deleted = select(RECORDS.c.seq).where(
            RECORDS.c.service == service, RECORDS.c.action == action, RECORDS.c.outcome == outcome
        )
        ledger = self._verification.ledger
        accounts = [one.resource for one in ledger.erased_but_not_deleted()]
        for start in range(0, len(accounts), PLACES_AT_ONCE):
            some = deleted.where(RECORDS.c.resource.in_(accounts[start : start + PLACES_AT_ONCE]))
            places = session.connection().execute(some).scalars().all()
            found = read_places(session, places)
            ledger.deleted.update(one["resource"] for one in found if is_deletion(one) and _is_in_tree(one))


def _is_in_tree(record: dict[str, Any]) -> bool:
    found: str = record["leaf"]
    return leaf_of(record).hexdigest() == found
