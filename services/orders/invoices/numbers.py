"""Numbers of invoices and credit notes: without gaps or duplicates, counted from 1 each year."""

from datetime import datetime, timedelta
from typing import NamedTuple

import structlog
from sqlalchemy import bindparam, select, update
from sqlmodel import Session

from services.orders.models import COUNTERS, InvoiceKind
from shared.data.statements import Rows, Statement
from shared.errors import Unavailable
from shared.ids import moment_of, new_id
from shared.work.leased import clock

CLOCKS_APART_MAX = timedelta(minutes=5)
PREFIXES = {InvoiceKind.INVOICE: "INV", InvoiceKind.CREDIT_NOTE: "CRN"}
_LOCKED = Rows(select(COUNTERS).where(COUNTERS.c.kind == bindparam("of_kind")).with_for_update())
_COUNTED = Statement(
    update(COUNTERS)
    .where(COUNTERS.c.kind == bindparam("of_kind"))
    .values(year=bindparam("in_year"), last=bindparam("taken"))
)

log = structlog.get_logger(__name__)


class Taken(NamedTuple):
    id: str
    number: str
    issued: datetime


def take(session: Session, kind: InvoiceKind) -> Taken:
    """Take the next number. All others wait for this transaction, which gives it back if it fails.

    The time is read only after the wait, so that dates never decrease from one number to the next.
    """
    counter = _LOCKED.one(session, of_kind=kind)
    assert counter is not None, "the migration has added it"
    taken_id = new_id()
    issued = moment_of(taken_id)
    if issued.year < counter["year"]:
        log.error("clock_is_behind", year=issued.year, last_invoice_in=counter["year"])
        raise Unavailable("The clock of this server is behind the last invoice; try again in a moment.")
    if issued.year > counter["year"] and abs(issued - clock(session)) > CLOCKS_APART_MAX:
        # If an invoice got a number of a later year, no other could get one until that year begins.
        log.error("clock_differs_from_database", year=issued.year, last_invoice_in=counter["year"])
        raise Unavailable("The clocks of this server and of its database differ; no new year is begun.")
    last = counter["last"] if issued.year == counter["year"] else 0
    _COUNTED.execute(session, {"of_kind": kind, "in_year": issued.year, "taken": last + 1})
    return Taken(taken_id, f"{PREFIXES[kind]}-{issued.year}-{last + 1:06}", issued)
