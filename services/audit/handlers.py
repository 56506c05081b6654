"""Handlers of the audit service's endpoints."""

import re
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select
from sqlmodel import Session
from starlette.responses import Response, StreamingResponse

from services.audit import checking, kept, proofs, statements, verifier
from services.audit.checkpoints import Checkpoints
from services.audit.errors import CheckpointDamaged, NotYetSigned
from services.audit.export import FullExport, PartialExport, ndjson, spreadsheet
from services.audit.feed import pinned
from services.audit.holds import state_hold
from services.audit.keys import LogKeys
from services.audit.log import append_own, take_turn, tree_of
from services.audit.models import HOLDS, RECORDS
from services.audit.proofs import Checkpoint, notes_in
from services.audit.queries import by_index, metadata_of
from services.audit.schemas import (
    ConsistencyOut,
    ExportLogs,
    FaultOut,
    FilterLogs,
    HoldOut,
    InclusionOut,
    KeyOut,
    ListLogs,
    LogOut,
    PlaceHold,
    ProveConsistency,
    ProveInclusion,
    VerificationOut,
    VerifyLog,
)
from services.audit.statements import HOLD_LIFTED
from services.audit.verification import verify
from shared.caller import Caller
from shared.clock import now
from shared.data.database import Database, insert_into
from shared.errors import FieldFault, Invalid, NotFound
from shared.http.schemas import Id, Page
from shared.lists.pagination import PageQuery, paginate

_DOWNLOAD = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def list_logs(query: ListLogs, caller: Caller, session: Session) -> Page[LogOut]:
    """List your records, newest first; admins see all records."""
    walk, checked = by_index(query, _whose(query, caller))
    return paginate(session, [walk], RECORDS.c.id, query, _shown, checked=checked)


def _shown(row: dict[str, Any]) -> LogOut:
    return LogOut.of(row, metadata_of(row["metadata"]))


def _whose(query: FilterLogs, caller: Caller) -> str | None:
    """Return the account whose records are requested; None for all."""
    if query.user_id is None:
        return None if caller.is_admin else caller.id
    if not caller.owns(query.user_id):
        raise NotFound
    return query.user_id


async def export_logs(
    query: ExportLogs, caller: Caller, database: Database, checkpoints: Checkpoints
) -> Response:
    """Download your records; an admin without filters gets the whole log.

    NDJSON includes everything that the verifier needs, up to the newest checkpoint.
    """
    user_id = _whose(query, caller)
    await database.in_thread(partial(checkpoints.make, whole=True))
    end = await database.read(pinned)
    is_whole = user_id is None and query.is_everything
    export = FullExport(end) if is_whole else PartialExport(end, query, user_id)
    export.kept = query.kept
    if query.format == "csv":
        stream, media_type = spreadsheet(database, export), "text/csv; charset=utf-8"
    else:
        stream, media_type = ndjson(database, export, checkpoints.keys), "application/x-ndjson"
    name = f'attachment; filename="audit-{now():%Y-%m-%d}.{query.format}"'
    return StreamingResponse(
        stream, headers={**_DOWNLOAD, "Content-Disposition": name}, media_type=media_type
    )


def show_checkpoint(session: Session, keys: LogKeys) -> Response:
    """Show the newest checkpoint: a signed note with the size and the root of the tree. Keep it.

    The format is c2sp.org/tlog-checkpoint. With a checkpoint that you kept you can prove later that no older
    record was changed.
    """
    newest = pinned(session)
    signed = Checkpoint.of(newest.note, keys.known)
    is_whole = notes_in(newest.note) == [newest.note]
    if signed is None or signed.size != newest.size or not is_whole:
        # One such note would spoil a file of kept checkpoints.
        raise CheckpointDamaged
    return _plain_text(newest.note)


def show_key(keys: LogKeys) -> KeyOut:
    """Show the public key that signs checkpoints."""
    known = [key.text for key in keys.known]
    return KeyOut(key=known[0], keys=known)


def download_verifier() -> Response:
    """Download the program that verifies exports: one file for Python 3.11 with `cryptography`."""
    headers = {**_DOWNLOAD, "Content-Disposition": 'attachment; filename="audit-verifier.py"'}
    return Response(verifier_as_one_file(), headers=headers, media_type="text/x-python; charset=utf-8")


def verifier_as_one_file() -> str:
    """Return the verifier as one file: the modules that it imports replace its first import."""
    beside = [Path(str(module.__file__)).read_text() for module in (proofs, statements, kept, checking)]
    parts = [_OWN_IMPORT.sub("", text.partition('"""\n\n')[2]) for text in beside]
    head, _, command = Path(str(verifier.__file__)).read_text().partition("\nfrom services.audit.")
    command = _OWN_IMPORT.sub("", f"from services.audit.{command}")
    return "\n".join([head, *parts, command])


_OWN_IMPORT = re.compile(r"^from services\.audit\.\w+ import \([^)]*\)\n", re.MULTILINE)


def prove_inclusion(query: ProveInclusion, session: Session) -> InclusionOut:
    """Prove that a record is in the log (RFC 9162, 2.1.3)."""
    size = _signed_size(session, query.size)
    if query.size is not None and query.seq >= query.size:
        raise _wrong("seq", "must be less than `size`, because the first record is 0")
    if query.seq >= size:
        raise NotYetSigned
    tree = tree_of(session)
    return InclusionOut(
        seq=query.seq,
        size=size,
        leaf=tree.leaf(query.seq),
        root=tree.root(size).hex(),
        proof=[one.hex() for one in tree.inclusion(query.seq, size)],
    )


def prove_consistency(query: ProveConsistency, session: Session) -> ConsistencyOut:
    """Prove that the log only grew between two sizes (RFC 9162, 2.1.4)."""
    to = _signed_size(session, query.until)
    if query.until is not None and query.since > query.until:
        raise _wrong("from", "must not be more than `to`, because a log only grows")
    if query.since > to:
        raise NotYetSigned
    tree = tree_of(session)
    proof = tree.consistency(query.since, to) if 0 < query.since < to else []
    return ConsistencyOut(
        size_before=query.since,
        root_before=tree.root(query.since).hex(),
        size=to,
        root=tree.root(to).hex(),
        proof=[one.hex() for one in proof],
    )


def _wrong(parameter: str, message: str) -> Invalid:
    return Invalid(errors=[FieldFault(field=parameter, code="wrong", message=message)])


def _signed_size(session: Session, size: int | None) -> int:
    """Return the requested size, or the newest signed size; NotYetSigned if it is larger."""
    newest = pinned(session).size
    if size is not None and size > newest:
        raise NotYetSigned
    return newest if size is None else size


def verify_log(query: VerifyLog, database: Database, checkpoints: Checkpoints) -> VerificationOut:
    """Check the log against its tree, its checkpoints and the anchor.

    This finds changes in the database. To verify the log without trusting its operator, export it and run the
    verifier elsewhere, with a checkpoint kept elsewhere.
    """
    checked = verify(database, checkpoints, query.since, query.limit)
    found = checked.verification
    return VerificationOut(
        intact=not found.faults,
        first=checked.first,
        end=checked.end,
        size=checked.size,
        records=found.records,
        seconds=round(checked.seconds, 3),
        faults=[FaultOut(**one._asdict()) for one in found.faults],
        unproven=[FaultOut(**one._asdict()) for one in found.unproven],
        remarks=found.remarks,
        next=checked.end if checked.end < checked.size and found.records else None,
    )


def list_holds(query: PageQuery, session: Session) -> Page[HoldOut]:
    """List the accounts under a hold, the newest account first."""
    return paginate(session, select(HOLDS), HOLDS.c.user_id, query, HoldOut.unchecked)


def place_hold(user_id: Id, body: PlaceHold, session: Session, keys: LogKeys) -> HoldOut:
    """Place a hold: keep the records of an account, even after its deletion or the end of retention."""
    take_turn(session)  # so that no erasure is in progress after the response
    # Stated each time, because a row in the table does not prove that the hold was ever stated.
    state_hold(session, keys, user_id)
    hold = {"user_id": user_id, "reason": body.reason, "created": now()}
    put = insert_into(session, HOLDS).values(hold)
    session.connection().execute(
        put.on_conflict_do_update(index_elements=["user_id"], set_={"reason": body.reason})
    )
    row = session.connection().execute(select(HOLDS).where(HOLDS.c.user_id == user_id)).one()
    return HoldOut.model_validate(row)


def lift_hold(user_id: Id, session: Session, keys: LogKeys) -> None:
    """Lift the hold on an account; a pending erasure then continues."""
    take_turn(session)  # before the row, as when a hold is placed; otherwise the two could deadlock
    lifted = session.connection().execute(delete(HOLDS).where(HOLDS.c.user_id == user_id))
    if not lifted.rowcount:
        raise NotFound
    append_own(session, keys, HOLD_LIFTED, user_id, {})


def _plain_text(text: str) -> Response:
    return Response(text, headers={"Cache-Control": "no-store"}, media_type="text/plain; charset=utf-8")
