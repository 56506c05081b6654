"""The first statement of a log: from here on, every statement is signed, together with the tree before it."""

from sqlmodel import Session

from services.audit.holds import restate_holds, stated
from services.audit.keys import LogKeys
from services.audit.log import append_own, take_turn
from services.audit.models import RECORDS
from services.audit.queries import EVERYTHING
from services.audit.statements import LOG_ITSELF, LOG_OPENED, LOG_SERVICE, RETENTION_CUT


def open_log(session: Session, keys: LogKeys) -> None:
    """Append LOG_OPENED and restate the existing holds, unless that was done before.

    It is done again after an upgrade from a version whose statements had another form.
    """
    take_turn(session)  # several replicas may start at once
    if any(_is_in_this_form(session, keys, action) for action in (LOG_OPENED, RETENTION_CUT)):
        return
    append_own(session, keys, LOG_OPENED, LOG_SERVICE, {"statements": "signed"})
    restate_holds(session, keys)


def _is_in_this_form(session: Session, keys: LogKeys, action: str) -> bool:
    """Whether the newest statement of this kind has the form of this version.

    A cut may have removed LOG_OPENED. A log that was opened again would state even a forged hold again.
    """
    mine = EVERYTHING.where(RECORDS.c.action == action, RECORDS.c.actor == LOG_ITSELF)
    newest = session.connection().execute(mine.order_by(RECORDS.c.id.desc()).limit(1)).mappings().first()
    one = stated({**newest}, keys) if newest is not None else None
    return one is not None and one.root is not None
