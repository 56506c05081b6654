"""Handlers for the list of the caller's tabs."""

from sqlmodel import Session

from services.terminal import tabs
from services.terminal.schemas import SaveTabs, TabsOut
from shared.caller import Caller
from shared.http.preconditions import IfMatch


def show_tabs(caller: Caller, session: Session) -> TabsOut:
    """Show your tabs in order, and the open terminal of each in `sessions`.

    A page restores its tabs from this after a reload.
    """
    return TabsOut.model_validate(tabs.show(session, caller.id))


def save_tabs(body: SaveTabs, caller: Caller, match: IfMatch, session: Session) -> TabsOut:
    """Save the order, names and active one of your tabs. Terminals of removed tabs stay open."""
    return TabsOut.model_validate(tabs.save(session, caller.id, body.model_dump(), match))
