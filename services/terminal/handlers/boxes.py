"""Handlers for the caller's own box and, for admins, all boxes."""

from sqlmodel import Session
from starlette.requests import Request

from services.terminal.access import Door
from services.terminal.boxes import Boxes
from services.terminal.models import BOXES
from services.terminal.schemas import AdminBoxOut, BoxOut, LimitsOut
from services.terminal.settings import Settings
from shared.caller import Caller
from shared.http.schemas import Id, Page
from shared.lists.pagination import PageQuery, paginate_equal


async def show_box(caller: Caller, boxes: Boxes, settings: Settings) -> BoxOut:
    """Show the box that your shells run in, and its limits."""
    row = await boxes.show(caller.id) or {}
    limits = LimitsOut(
        terminals=settings.terminals_per_user,
        viewers=settings.viewers_per_terminal,
        ring_bytes=settings.ring_bytes,
        idle_seconds=settings.idle_seconds,
    )
    return BoxOut(
        state=row.get("state", "none"),
        reason=row.get("reason"),
        backend=boxes.backend.name,
        isolation=boxes.backend.isolation,
        started=row.get("started"),
        stopped=row.get("stopped"),
        limits=limits,
    )


async def start_box(caller: Caller, request: Request, boxes: Boxes, door: Door, settings: Settings) -> BoxOut:
    """Start your box; opening a terminal does so as well."""
    door.require_local(request)
    await boxes.ensure(caller.id)
    return await show_box(caller, boxes, settings)


async def stop_box(caller: Caller, boxes: Boxes) -> None:
    """Stop your box and all its shells; your files stay."""
    await boxes.stop(caller.id, "user")


def list_boxes(query: PageQuery, session: Session) -> Page[AdminBoxOut]:
    """List the boxes of all accounts, newest first."""
    return paginate_equal(session, BOXES, {}, query, AdminBoxOut.of)


async def stop_box_of(box_id: Id, boxes: Boxes) -> None:
    """Stop a box and all its shells; its files stay."""
    await boxes.stop_by_id(box_id, "admin")
