"""What the dashboard shows of terminals."""

from sqlalchemy import select, text

from contracts.summaries import Rows
from services.terminal.models import BOXES, IS_LIVE, TERMINALS, BoxState


def rows_of(user_id: str | None) -> Rows:
    """Return what is counted: the open terminals of a person, or all and the boxes that run."""
    live = select(TERMINALS.c.id).where(text(IS_LIVE))  # as the partial index has it
    if user_id is not None:
        return {"open": live.where(TERMINALS.c.owner == user_id)}
    running = select(BOXES.c.state).where(BOXES.c.state == str(BoxState.RUNNING))
    return {"open": live, "boxes_running": running}
