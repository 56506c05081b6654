"""Handlers for the trash of the caller's workspace."""

from sqlmodel import Session
from starlette.requests import Request

from services.terminal.access import Door
from services.terminal.models import TRASH
from services.terminal.workspace.schemas import EntryOut, TrashOut
from services.terminal.workspace.trash import TrashCan
from shared.caller import Caller
from shared.http.schemas import Id, Page
from shared.lists.pagination import PageQuery, paginate_equal


def list_trash(query: PageQuery, caller: Caller, session: Session) -> Page[TrashOut]:
    """List what you deleted and can restore, newest first."""
    return paginate_equal(session, TRASH, {"owner": caller.id}, query, TrashOut.of)


async def restore_entry(
    trash_id: Id, caller: Caller, request: Request, door: Door, trash: TrashCan
) -> EntryOut:
    """Restore a file or folder to its path."""
    door.require_local(request)
    return EntryOut.of(await trash.restore(caller.id, trash_id))


async def purge_entry(trash_id: Id, caller: Caller, request: Request, door: Door, trash: TrashCan) -> None:
    """Remove something in your trash for good."""
    door.require_local(request)
    await trash.purge(caller.id, trash_id)


async def empty_trash(caller: Caller, request: Request, door: Door, trash: TrashCan) -> None:
    """Remove everything in your trash for good."""
    door.require_local(request)
    await trash.empty(caller.id)
