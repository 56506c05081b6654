"""Records before the horizon that are still there: a cut deletes them in batches, after it was recorded."""

import time
from functools import partial

from sqlalchemy import func, select

from services.audit.checking import Verification
from services.audit.log import tree_of
from services.audit.models import RECORDS
from services.audit.queries import CHUNK_RECORDS, checked_metadata, read_range
from shared.data.database import Database

PROGRESS_SECONDS = 5.0  # enough to delete several batches
LOOK_SECONDS = 0.05


def check_leftovers(
    database: Database, verification: Verification, lowest: int, horizon: int, limit: int
) -> None:
    """Check about `limit` of them, and whether they are being deleted or stay.

    Lists show these records until they are deleted, so each must at least be what the log recorded.
    """
    apart = Verification(verification.keys, metadata_text=checked_metadata)  # they explain nothing any more
    for low in range(lowest, min(horizon, lowest + limit), CHUNK_RECORDS):
        with database.transaction(write=False) as session:
            tree = tree_of(session)
            for line in read_range(session, low, min(horizon, low + CHUNK_RECORDS)):
                apart.add_statement(line, before=partial(tree.root, line["seq"]))
    for fault in apart.faults:
        verification.report(fault.kind, fault.seq, f"it was cut off, and is there again: {fault.detail}")
    if not _is_going_on(database, lowest, horizon):
        what = f"records before {horizon} were cut off, but some are still there or were restored"
        verification.doubt(lowest, what)


def _is_going_on(database: Database, lowest: int, horizon: int) -> bool:
    """Whether the deletion has ended or makes progress. Some process deletes the records in order."""
    deadline = time.monotonic() + PROGRESS_SECONDS
    while True:
        with database.transaction(write=False) as session:
            now: int | None = session.connection().execute(select(func.min(RECORDS.c.seq))).scalar_one()
        if now is None or now >= horizon or now > lowest:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_SECONDS)
