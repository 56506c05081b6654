"""What the dashboard shows of terminals."""

from sqlalchemy import select, text

from contracts.summaries import Rows
from services.terminal.models import BOXES, IS_LIVE, TERMINALS, BoxState


def rows_of(user_id: str | None) -> Rows:
    """Return what is counted: the terminals of a person, or all and the boxes that run."""
    every = select(TERMINALS.c.id)
    live = select(TERMINALS.c.id).where(text(IS_LIVE))  # as the partial index has it
    if user_id is not None:
        mine = TERMINALS.c.owner == user_id
        return {"total": every.where(mine), "open": live.where(mine)}
    running = select(BOXES.c.state).where(BOXES.c.state == str(BoxState.RUNNING))
    return {"total": every, "open": live, "boxes_running": running}
