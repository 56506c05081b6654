"""Handlers for the paths of 3Compute's pages. Bad input is 400 here, as these pages expect."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from pydantic import BaseModel
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from services.terminal import tabs
from services.terminal.access import Door
from services.terminal.boxes import GRACE_SECONDS, Boxes
from services.terminal.errors import Exists, IntoItself, WrongKind
from services.terminal.terminals import Terminals
from services.terminal.threecompute.schemas import (
    TABS_MAX,
    CloseTab,
    FilesOut,
    FilesWithClassroomsOut,
    ListQuery,
    MessageOut,
    MovePath,
    SavedOut,
    SaveTabList,
    TabListOut,
)
from services.terminal.workspace import changes
from services.terminal.workspace.download import file_answer, zip_answer
from services.terminal.workspace.paths import Parts, composed, parts_of
from services.terminal.workspace.trash import TrashCan
from services.terminal.workspace.tree import Tree
from services.terminal.workspace.uploads import receive_form
from services.terminal.workspace.walks import list_all
from services.terminal.workspace.workspaces import Upload, Workspaces
from shared.caller import Caller
from shared.data.database import Database
from shared.errors import BadRequest, Invalid, NotFound
from shared.http.inputs import read_body, valid
from shared.http.preconditions import IfMatch
from shared.http.trail import Trail

BODY_BYTES_MAX = 64 * 1024
ENTRIES_MAX = 20_000
FIELDS = frozenset(("destination", "overwrite", "move-into"))
TRUE = frozenset(("true", "1", "on", "yes"))
M = TypeVar("M", bound=BaseModel)


@contextmanager
def as_bad_request() -> Iterator[None]:
    try:
        yield
    except (Invalid, IntoItself) as problem:
        raise BadRequest(problem.detail, errors=problem.errors) from problem


async def _read(request: Request, model: type[M]) -> M:
    body = await read_body(request, BODY_BYTES_MAX)
    with as_bad_request():
        found: M = valid(model.model_validate_json, body or b"{}")
    return found


# Tabs.


async def show_tab_list(caller: Caller, database: Database) -> TabListOut:
    """Show the tabs of 3Compute's page."""
    shown = await database.read(tabs.show, caller.id)
    return TabListOut(tabs=shown["tabs"], active_tab=shown["active"])


async def save_tab_list(request: Request, caller: Caller, match: IfMatch, database: Database) -> SavedOut:
    """Save the tabs of 3Compute's page. Tabs whose id is not valid are left out."""
    body = await _read(request, SaveTabList)
    kept = body.valid_tabs
    if not 1 <= len(kept) <= TABS_MAX:
        raise BadRequest(f"Send 1 to {TABS_MAX} tabs with ids of letters, digits, `-` and `_`.")
    active = body.active_tab if body.active_tab in kept else kept[0]
    await database.run(_save, caller.id, kept, active, match)
    return SavedOut()


async def show_newest_tab_list(caller: Caller, database: Database) -> TabListOut:
    """Show the tabs of 3Compute's newest page, which has a slash at the end of this path."""
    return await show_tab_list(caller, database)


async def save_newest_tab_list(
    request: Request, caller: Caller, match: IfMatch, database: Database
) -> SavedOut:
    """Save the tabs of 3Compute's newest page."""
    return await save_tab_list(request, caller, match, database)


def _save(session: Session, owner: str, kept: list[str], active: str, match: IfMatch) -> None:
    named = tabs.show(session, owner)["names"]
    names = {tab: name for tab, name in named.items() if tab in kept}
    tabs.save(session, owner, {"tabs": kept, "names": names, "active": active}, match)


async def close_tab(
    request: Request, caller: Caller, database: Database, boxes: Boxes, terminals: Terminals, trail: Trail
) -> MessageOut:
    """End the shell of a tab; also succeeds if it has ended already."""
    body = await _read(request, CloseTab)
    trail.resource = body.tabId
    if await boxes.running(caller.id) is None:
        raise NotFound("Your box is not running.")
    live = (await database.read(tabs.live_by_tab, caller.id)).get(body.tabId)
    session = terminals.find(live) if live is not None else None
    if session is not None:
        await terminals.hang_up([session], GRACE_SECONDS)
    return MessageOut(message="Tab closed.")


# Files.


async def list_paths(
    query: ListQuery, caller: Caller, request: Request, door: Door, workspaces: Workspaces
) -> FilesOut:
    """List all files and folders of your workspace, at most 20,000."""
    door.require_local(request)
    return FilesOut(files=await _paths(workspaces, caller.id, hidden=query.show_hidden))


async def list_paths_with_classrooms(
    query: ListQuery, caller: Caller, request: Request, door: Door, workspaces: Workspaces
) -> FilesWithClassroomsOut:
    """List all files and folders of your workspace, at most 20,000."""
    door.require_local(request)
    return FilesWithClassroomsOut(files=await _paths(workspaces, caller.id, hidden=query.show_hidden))


async def _paths(workspaces: Workspaces, owner: str, *, hidden: bool) -> list[str]:
    entries, _ = await workspaces.run(owner, list_all, (), ENTRIES_MAX, hidden=hidden)
    return [f"{entry.path}/" if entry.kind == "folder" else entry.path for entry in entries]


async def upload_over(
    request: Request, caller: Caller, door: Door, workspaces: Workspaces, trail: Trail
) -> MessageOut:
    """Upload files to the workspace, or to the folder `destination`. Existing files are replaced."""
    return await _upload(request, caller, door, workspaces, trail, overwrites=True, keeps_folders=False)


async def upload_folder_over(
    request: Request, caller: Caller, door: Door, workspaces: Workspaces, trail: Trail
) -> MessageOut:
    """Upload a folder: the names of the files are paths. Files with the same paths are replaced.

    `move-into` is accepted, but nothing is typed into a shell.
    """
    return await _upload(request, caller, door, workspaces, trail, overwrites=True, keeps_folders=True)


async def upload_new(
    request: Request, caller: Caller, door: Door, workspaces: Workspaces, trail: Trail
) -> MessageOut:
    """Upload files. Without `overwrite`, `conflicts` lists existing ones (409) and nothing is stored."""
    return await _upload(request, caller, door, workspaces, trail, overwrites=False, keeps_folders=False)


async def upload_new_folder(
    request: Request, caller: Caller, door: Door, workspaces: Workspaces, trail: Trail
) -> MessageOut:
    """Upload a folder: the names of the files are paths. See the upload of files about `overwrite`."""
    return await _upload(request, caller, door, workspaces, trail, overwrites=False, keeps_folders=True)


async def _upload(
    request: Request,
    caller: Caller,
    door: Door,
    workspaces: Workspaces,
    trail: Trail,
    *,
    overwrites: bool,
    keeps_folders: bool,
) -> MessageOut:
    door.require_local(request)

    def plan(fields: Mapping[str, str], names: list[str]) -> tuple[list[Parts], bool]:
        above = parts_of(fields.get("destination", ""), "destination", root=True)
        below = names if keeps_folders else [name.replace("\\", "/").rpartition("/")[2] for name in names]
        targets = [(*above, *parts_of(name, "files")) for name in below]
        if len({composed(target) for target in targets}) < len(targets):
            raise BadRequest("The form has two files with the same name.")
        return targets, overwrites or fields.get("overwrite", "").lower() in TRUE

    with as_bad_request():
        paths = await receive_form(request, workspaces, caller.id, FIELDS, plan)
    trail.add(files=len(paths), first=paths[0])
    return MessageOut(message="Files uploaded.")


async def move_path(
    request: Request, caller: Caller, door: Door, workspaces: Workspaces, trash: TrashCan, trail: Trail
) -> MessageOut:
    """Move or rename a file or folder. With `overwrite`, what is at the destination goes to the trash."""
    door.require_local(request)
    body = await _read(request, MovePath)
    with as_bad_request():
        way = _way(body, trail)
        await changes.move(workspaces, trash, caller.id, way, overwrite=body.overwrite)
    return MessageOut(message="Moved.")


async def copy_path(
    request: Request, caller: Caller, door: Door, workspaces: Workspaces, trash: TrashCan, trail: Trail
) -> MessageOut:
    """Copy a file or folder. With `overwrite`, what is at the destination goes to the trash."""
    door.require_local(request)
    body = await _read(request, MovePath)
    with as_bad_request():
        way = _way(body, trail)
        await changes.copy(workspaces, trash, caller.id, way, overwrite=body.overwrite)
    return MessageOut(message="Copied.")


def _way(body: MovePath, trail: Trail) -> changes.Way:
    trail.resource = body.source
    trail.add(destination=body.destination)
    return parts_of(body.source, "source"), parts_of(body.destination, "destination")


async def show_path(
    path: str, caller: Caller, request: Request, door: Door, workspaces: Workspaces
) -> Response:
    """Show a file: text and images as such, anything else as a download."""
    door.require_local(request)
    with as_bad_request():
        parts = parts_of(path)
    return await file_answer(request, workspaces, caller.id, parts, inline=True)


async def download_path(
    path: str, caller: Caller, request: Request, door: Door, workspaces: Workspaces
) -> Response:
    """Download a file, or a folder as a zip."""
    door.require_local(request)
    with as_bad_request():
        parts = parts_of(path)
    entry = await workspaces.run(caller.id, Tree.entry, parts)
    if entry.kind == "folder":
        return await zip_answer(workspaces, caller.id, parts)
    return await file_answer(request, workspaces, caller.id, parts, inline=False)


async def create_path(
    path: str, caller: Caller, request: Request, door: Door, workspaces: Workspaces, trail: Trail
) -> MessageOut:
    """Create an empty file, or with a `/` at the end of the path a folder."""
    door.require_local(request)
    with as_bad_request():
        parts = parts_of(path)
    trail.resource = path
    try:
        if path.endswith("/"):
            async with workspaces.quota.room(caller.id, 0, len(parts)):
                await workspaces.run(caller.id, Tree.make_folder, parts)
        else:
            async with workspaces.receiving(caller.id, request) as upload:
                await workspaces.run(caller.id, _place_new, upload, parts)
    except Exists as problem:
        entry = await workspaces.run(caller.id, Tree.entry, parts)
        if (entry.kind == "folder") != path.endswith("/"):
            raise WrongKind from problem
        raise BadRequest("There is something at this path already.") from problem
    return MessageOut(message="Created.")


async def write_path(
    path: str, caller: Caller, request: Request, door: Door, workspaces: Workspaces, trail: Trail
) -> MessageOut:
    """Write a file, all or nothing: the body replaces its content. It is created if it is missing."""
    door.require_local(request)
    with as_bad_request():
        parts = parts_of(path)
    trail.resource = path
    async with workspaces.receiving(caller.id, request) as upload:
        await workspaces.run(caller.id, _place, upload, parts)
    return MessageOut(message="Saved.")


def _place_new(tree: Tree, upload: Upload, parts: Parts) -> None:
    above = tree.make_folders(parts[:-1])
    tree.place(upload.folder, upload.name, (*above, parts[-1]), replace=False)


def _place(tree: Tree, upload: Upload, parts: Parts) -> None:
    try:
        tree.place(upload.folder, upload.name, parts, replace=True)
    except FileNotFoundError:
        _place_new(tree, upload, parts)


async def delete_path(
    path: str, caller: Caller, request: Request, door: Door, trash: TrashCan, trail: Trail
) -> MessageOut:
    """Move a file or folder to the trash; also succeeds if nothing is there."""
    door.require_local(request)
    with as_bad_request():
        parts = parts_of(path)
    trail.resource = path
    try:
        await trash.put(caller.id, parts)
    except NotFound:
        return MessageOut(message="There was nothing to delete.")
    return MessageOut(message="Deleted.")
