"""What the dashboard shows of the inventory, which everybody sees as a whole."""

from sqlalchemy import select

from contracts.summaries import Rows
from services.inventory.models import PRESENT, WORKSPACES


def rows_of(_user_id: str | None) -> Rows:
    """Return what is counted: the WorkSpaces that exist, and those in a state that matters."""
    present = select(WORKSPACES.c.id).where(WORKSPACES.c.presence == PRESENT)
    states = ("AVAILABLE", "STOPPED", "ERROR")
    return {
        "workspaces": present,
        **{state.lower(): present.where(WORKSPACES.c.state == state) for state in states},
    }
