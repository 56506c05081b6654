"""Files that arrive in one form: all of them are placed once the form is complete, or none.

The exception is a shell that changes the targets while the files are being placed; see `batches.describe`.
"""

from collections.abc import Callable, Mapping
from functools import partial

from starlette.requests import Request

from services.terminal.errors import FileTooLarge
from services.terminal.workspace import batches
from services.terminal.workspace.paths import Parts, joined
from services.terminal.workspace.quota import Room
from services.terminal.workspace.tree import refusals
from services.terminal.workspace.workspaces import Workspaces
from shared.http.forms import Expected, FilePart, Form

FILES_MAX = 1000  # in one form; folders of thousands of files are uploaded by batches
FILE_FIELD = "files"
WRITE_BYTES = 512 * 1024

# Where the files go and whether they replace others, by the fields of the form and the names of the files.
Plan = Callable[[Mapping[str, str], list[str]], tuple[list[Parts], bool]]


async def receive_form(
    request: Request, workspaces: Workspaces, owner: str, fields: frozenset[str], plan: Plan
) -> list[str]:
    """Store the files of a form; return their paths. Raises Exists, WrongKind or BadRequest."""
    limit = workspaces.settings.upload_max
    too_large = partial(FileTooLarge, limit_bytes=limit)
    form = Form(request, Expected(FILE_FIELD, fields, limit, too_large, FILES_MAX))
    declared = request.headers.get("content-length", "")
    size = min(int(declared), limit) if declared.isdecimal() else 0
    async with workspaces.quota.room(owner, size) as room:
        batch_id = await workspaces.run(owner, batches.begin_form)
        is_finished = False
        try:
            names, sizes = await _received(form, workspaces, owner, batch_id, room)
            targets, overwrite = plan(form.fields, names)
            entries = [(joined(*parts), size) for parts, size in zip(targets, sizes, strict=True)]
            folders = await workspaces.run(
                owner, batches.missing_folders, [path for path, _ in entries], workspaces.quota.entries_max
            )
            async with workspaces.quota.room(owner, 0, len(entries) - 1 + folders):
                await workspaces.run(owner, batches.describe, batch_id, entries, overwrite=overwrite)
                await workspaces.run(owner, batches.finish, batch_id)
            is_finished = True
        finally:
            if not is_finished:
                await workspaces.release(partial(workspaces.at_once, owner, batches.discard, batch_id))
                room.is_kept = False
    return [path for path, _ in entries]


async def _received(
    form: Form, workspaces: Workspaces, owner: str, batch_id: str, room: Room
) -> tuple[list[str], list[int]]:
    """Write the files as they arrive; return their names and sizes."""
    names: list[str] = []
    writer = await workspaces.run(owner, batches.FormWriter, batch_id)
    total = 0
    work: list[FilePart | bytes] = []
    try:
        held = 0
        async for one in form:
            work.append(one)
            if isinstance(one, FilePart):
                names.append(one.name)
            else:
                total, held = total + len(one), held + len(one)
                workspaces.require_size(total)
                room.grow(total)
            if held >= WRITE_BYTES:
                await workspaces.in_thread(_write, writer, work)
                work, held = [], 0
        await workspaces.in_thread(_write, writer, work)
        await workspaces.in_thread(writer.end)
        return names, writer.sizes
    finally:
        await workspaces.release(writer.close)


def _write(writer: batches.FormWriter, work: list[FilePart | bytes]) -> None:
    with refusals():
        for one in work:
            if isinstance(one, FilePart):
                writer.begin()
            else:
                writer.write(one)
