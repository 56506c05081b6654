"""The first statement of a log: from here on, every statement is signed, together with the tree before it."""

from sqlmodel import Session

from services.audit.holds import restate_holds, stated
from services.audit.keys import LogKeys
from services.audit.log import append_own, take_turn
from services.audit.models import RECORDS
from services.audit.queries import EVERYTHING
from services.audit.statements import LOG_ITSELF, LOG_OPENED, LOG_SERVICE


def open_log(session: Session, keys: LogKeys) -> None:
    """Append LOG_OPENED and restate the existing holds, unless that was done before.

    It is done again after an upgrade from a version whose statements had another form.
    """
    take_turn(session)  # several replicas may start at once
    opened = EVERYTHING.where(RECORDS.c.action == LOG_OPENED, RECORDS.c.actor == LOG_ITSELF)
    for row in session.connection().execute(opened.order_by(RECORDS.c.id.desc()).limit(1)).mappings():
        one = stated({**row}, keys)
        if one is not None and one.root is not None:
            return
    append_own(session, keys, LOG_OPENED, LOG_SERVICE, {"statements": "signed"})
    restate_holds(session, keys)
