"""Handlers for uploads of whole folders."""

from starlette.requests import Request

from services.terminal.access import Door
from services.terminal.errors import FileTooLarge
from services.terminal.workspace import batches
from services.terminal.workspace.batches import Batch
from services.terminal.workspace.paths import parts_of
from services.terminal.workspace.schemas import BatchOut, FinishedOut, MakeBatch, SpanQuery
from services.terminal.workspace.workspaces import Workspaces
from shared.caller import Caller
from shared.errors import BadRequest, FieldFault, Invalid
from shared.http.schemas import Id
from shared.http.trail import Trail


async def make_batch(
    body: MakeBatch, caller: Caller, request: Request, door: Door, workspaces: Workspaces
) -> BatchOut:
    """Announce the upload of many files: their paths and sizes, up to 20,000.

    Conflicts with existing files and a lack of space are reported before any content is sent. Then send the
    contents to `…/content` and finish with `…/finish`. An unfinished batch is removed after a day.
    """
    door.require_local(request)
    entries = [(one.path, one.size) for one in body.entries]
    size = sum(one.size for one in body.entries)
    destination = parts_of(body.destination, "destination", root=True)
    most = workspaces.quota.entries_max
    folders = await workspaces.run(caller.id, batches.folders_for, destination, entries, most)
    async with workspaces.quota.room(caller.id, size, len(entries) + folders) as room:
        batch = await workspaces.run(caller.id, batches.begin, destination, entries, overwrite=body.overwrite)
        room.is_kept = False  # the space counts as used when the contents arrive
    return _out(batch, [(0, len(entries) - 1)])


async def show_batch(
    batch_id: Id, caller: Caller, request: Request, door: Door, workspaces: Workspaces
) -> BatchOut:
    """Show which entries of a batch are missing, which a client needs to resume it."""
    door.require_local(request)
    return _out(*await workspaces.run(caller.id, batches.missing, batch_id))


async def send_contents(
    batch_id: Id, query: SpanQuery, caller: Caller, request: Request, door: Door, workspaces: Workspaces
) -> None:
    """Send the contents of consecutive entries, one directly after the other in one body.

    The manifest says where one ends and the next begins. Entries that arrived completely are kept, even if
    the connection is lost before the others.
    """
    door.require_local(request)
    batch = await workspaces.run(caller.id, batches.load, batch_id)
    if query.first + query.count > len(batch.entries):
        fault = FieldFault(
            field="count", code="beyond_end", message=f"the batch has {len(batch.entries)} entries"
        )
        raise Invalid(errors=[fault])
    span = batch.entries[query.first : query.first + query.count]
    size = sum(one for _, one in span)
    if size > workspaces.settings.upload_max:
        raise FileTooLarge(limit_bytes=workspaces.settings.upload_max)
    async with workspaces.quota.room(caller.id, size, query.count):
        writer = await workspaces.run(caller.id, batches.Writer, batch_id, query.first, query.count)
        is_complete = False
        try:
            await workspaces.write_all(request, writer.write)
        finally:
            is_complete = await workspaces.release(writer.close)
        if not is_complete:
            raise BadRequest("The body is shorter than these entries combined.")


async def finish_batch(
    batch_id: Id, caller: Caller, request: Request, door: Door, workspaces: Workspaces, trail: Trail
) -> FinishedOut:
    """Move all files of a batch to their paths. Repeat this after an error."""
    door.require_local(request)
    most = workspaces.quota.entries_max
    folders = await workspaces.run(caller.id, batches.folders_of, batch_id, most)
    async with workspaces.quota.room(caller.id, 0, folders):
        number = await workspaces.run(caller.id, batches.finish, batch_id)
    trail.add(files=number)
    return FinishedOut(files=number)


async def delete_batch(
    batch_id: Id, caller: Caller, request: Request, door: Door, workspaces: Workspaces
) -> None:
    """Discard a batch and remove what was received."""
    door.require_local(request)
    await workspaces.run(caller.id, batches.discard, batch_id)
    workspaces.quota.forget(caller.id)


def _out(batch: Batch, missing: list[tuple[int, int]]) -> BatchOut:
    return BatchOut(
        id=batch.id, entries=len(batch.entries), bytes=batch.bytes, missing=[list(span) for span in missing]
    )
