"""Handlers for the files of the caller's workspace."""

import base64
import binascii
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from services.terminal.access import Door
from services.terminal.errors import NoPrecondition
from services.terminal.workspace import changes
from services.terminal.workspace.download import file_answer, zip_answer
from services.terminal.workspace.paths import Parts, parts_of
from services.terminal.workspace.schemas import (
    ContentQuery,
    DeleteQuery,
    EntryOut,
    FolderQuery,
    MakeFolder,
    MoveEntry,
    PathQuery,
    UsageOut,
)
from services.terminal.workspace.trash import TrashCan
from services.terminal.workspace.tree import Entry, Tree
from services.terminal.workspace.walks import list_all, list_folder
from services.terminal.workspace.workspaces import Upload, Workspaces, remove_for_good
from shared.caller import Caller
from shared.errors import FieldFault, Invalid, Stale
from shared.http.schemas import Page
from shared.http.trail import Trail

ENTRIES_MAX = 20_000  # in one listing with all subfolders


async def list_files(
    query: FolderQuery, caller: Caller, request: Request, door: Door, workspaces: Workspaces
) -> Page[EntryOut]:
    """List a folder of your workspace by name, or with `depth=all` everything below it.

    A listing with `depth=all` has no pages. It stops after 20,000 entries, and then has `truncated=1` in
    `Page-Extras`. Names that are not UTF-8 are shown as well as possible, with `is_exact` false.
    """
    door.require_local(request)
    parts = parts_of(query.path, root=True)
    if query.depth == "all":
        entries, is_cut = await workspaces.run(caller.id, list_all, parts, ENTRIES_MAX, hidden=query.hidden)
        return Page(items=_shown(entries), extras={"truncated": int(is_cut)})
    after = None if query.cursor is None else _decoded(query.cursor)
    entries, last = await workspaces.run(
        caller.id, list_folder, parts, after, query.limit, hidden=query.hidden
    )
    return Page(items=_shown(entries), next=None if last is None else _encoded(last))


async def show_usage(caller: Caller, request: Request, door: Door, workspaces: Workspaces) -> UsageOut:
    """Show how much of your workspace is used; the figures may be a minute old."""
    door.require_local(request)
    used, quota = await workspaces.quota.usage(caller.id), workspaces.quota
    limits = {"bytes_max": quota.bytes_max, "entries_max": quota.entries_max}
    return UsageOut(bytes=used.bytes, entries=used.entries, **limits)


async def download_workspace_file(
    query: ContentQuery, caller: Caller, request: Request, door: Door, workspaces: Workspaces
) -> Response:
    """Download a file of your workspace, whole or in part."""
    door.require_local(request)
    return await file_answer(request, workspaces, caller.id, parts_of(query.path), inline=query.inline)


async def download_archive(
    query: PathQuery, caller: Caller, request: Request, door: Door, workspaces: Workspaces
) -> Response:
    """Download a folder as a zip. Links are left out; files that could not be read are listed inside."""
    door.require_local(request)
    return await zip_answer(workspaces, caller.id, parts_of(query.path, root=True))


async def write_workspace_file(
    query: PathQuery, caller: Caller, request: Request, door: Door, workspaces: Workspaces, trail: Trail
) -> EntryOut:
    """Write a file, all or nothing: the body is its content.

    `If-None-Match: *` creates the file and missing folders, `If-Match` overwrites that version.
    """
    door.require_local(request)
    parts, tag = parts_of(query.path), request.headers.get("if-match")
    is_new = request.headers.get("if-none-match", "").strip() == "*"
    if tag is None and not is_new:
        raise NoPrecondition
    trail.resource = query.path
    async with workspaces.receiving(caller.id, request) as upload:
        entry = await workspaces.run(caller.id, _place, upload, parts, None if is_new else tag)
    trail.add(size=entry.size)
    return _out(entry)


def _place(tree: Tree, upload: Upload, parts: Parts, tag: str | None) -> Entry:
    if tag is not None:
        return tree.place(upload.folder, upload.name, parts, replace=True, etag=tag)
    above = tree.make_folders(parts[:-1])
    try:
        return tree.place(upload.folder, upload.name, (*above, parts[-1]), replace=False)
    except FileExistsError as error:
        raise Stale("There is something at this path already.") from error


async def make_folder(
    body: MakeFolder, caller: Caller, request: Request, door: Door, workspaces: Workspaces, trail: Trail
) -> EntryOut:
    """Create a folder, and the missing ones above it."""
    door.require_local(request)
    parts = parts_of(body.path)
    trail.resource = body.path
    async with workspaces.quota.room(caller.id, 0, len(parts)):
        return _out(await workspaces.run(caller.id, Tree.make_folder, parts))


async def move_entry(
    body: MoveEntry,
    caller: Caller,
    request: Request,
    door: Door,
    workspaces: Workspaces,
    trash: TrashCan,
    trail: Trail,
) -> EntryOut:
    """Move or rename a file or folder. With `overwrite`, what is at the destination goes to the trash."""
    door.require_local(request)
    source, target = parts_of(body.source, "source"), parts_of(body.destination, "destination")
    trail.resource = body.source
    trail.add(destination=body.destination)
    return _out(await changes.move(workspaces, trash, caller.id, (source, target), overwrite=body.overwrite))


async def copy_entry(
    body: MoveEntry,
    caller: Caller,
    request: Request,
    door: Door,
    workspaces: Workspaces,
    trash: TrashCan,
    trail: Trail,
) -> EntryOut:
    """Copy a file or folder; links are copied as links."""
    door.require_local(request)
    source, target = parts_of(body.source, "source"), parts_of(body.destination, "destination")
    trail.resource = body.source
    trail.add(destination=body.destination)
    return _out(await changes.copy(workspaces, trash, caller.id, (source, target), overwrite=body.overwrite))


async def delete_entry(
    query: DeleteQuery,
    caller: Caller,
    request: Request,
    door: Door,
    workspaces: Workspaces,
    trash: TrashCan,
    trail: Trail,
) -> None:
    """Move a file or folder to the trash, or with `permanent` remove it for good."""
    door.require_local(request)
    parts = parts_of(query.path)
    trail.resource = query.path
    trail.add(permanent=query.permanent)
    if query.permanent:
        await workspaces.run(caller.id, remove_for_good, parts)
        workspaces.quota.forget(caller.id)
    else:
        await trash.put(caller.id, parts)


def _shown(entries: Sequence[Entry]) -> list[EntryOut]:
    return [_out(entry) for entry in entries]


def _out(entry: Entry) -> EntryOut:
    return EntryOut.of(entry)


def _encoded(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode("utf-8", "surrogateescape")).decode()


def _decoded(cursor: str) -> str:
    try:
        return base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode(
            "utf-8", "surrogateescape"
        )
    except (binascii.Error, ValueError) as error:
        fault = FieldFault(field="cursor", code="bad_cursor", message="must be taken from `Link`")
        raise Invalid(errors=[fault]) from error
