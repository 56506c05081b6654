"""Lists of tickets: by text along the search index, otherwise along the index of one filter."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import exists, select
from sqlmodel import Session

from services.support.models import SEARCH, TICKET_TAGS, TICKETS
from services.support.schemas import OwnTickets, TicketOut
from services.support.states import Status
from shared.http.schemas import Page
from shared.lists.named import page_of_named
from shared.lists.pagination import Walk, paginate
from shared.lists.search import Search, find_page, searchable

# The filters that an index holds in the order of ids; the first one that is given leads, the others are
# checked row by row.
LEADING: Sequence[tuple[str, ...]] = (("user_id", "status"), ("user_id",), ("assigned_to",), ("category",))
LEADING_TOO: Sequence[tuple[str, ...]] = (("status", "priority"), ("priority",), ("status",))


def find(
    session: Session, query: OwnTickets, filters: Mapping[str, str | None], *, for_staff: bool
) -> Page[TicketOut]:
    """Return one page, newest first."""

    def make(row: dict[str, Any]) -> TicketOut:
        return TicketOut.of(row, for_staff=for_staff)

    given = {name: str(value) for name, value in filters.items() if value is not None}
    tag = given.pop("tag", None)
    if query.search is not None:
        return _by_text(session, query, searchable(query.search), given, tag, make)
    if tag is not None:
        return _by_tag(session, query, tag, given, make)
    leading = [names for names in LEADING if given.keys() >= set(names)]
    is_led_by_overdue = bool(query.overdue) and not leading
    if not leading and not is_led_by_overdue:
        leading = [names for names in LEADING_TOO if given.keys() >= set(names)]
    along = [TICKETS.c[name] == given.pop(name) for name in leading[0]] if leading else []
    checked = [TICKETS.c[name] == value for name, value in given.items()]
    if is_led_by_overdue:
        along.append(TICKETS.c.is_overdue)
    elif query.overdue is not None:
        checked.append(TICKETS.c.is_overdue == query.overdue)
    statement = select(TICKETS).where(*along)
    return paginate(session, statement, TICKETS.c.id, query, make, checked=checked)


def _by_tag(
    session: Session,
    query: OwnTickets,
    tag: str,
    given: dict[str, str],
    make: Callable[[dict[str, Any]], TicketOut],
) -> Page[TicketOut]:
    tagged = Walk(select(TICKET_TAGS.c.id).where(TICKET_TAGS.c.tag == tag), TICKET_TAGS.c.id)
    checked = [TICKETS.c[name] == value for name, value in given.items()]
    if query.overdue is not None:
        checked.append(TICKETS.c.is_overdue == query.overdue)
    return page_of_named(session, tagged, TICKETS, query, make, checked)


def _by_text(
    session: Session,
    query: OwnTickets,
    text: str,
    given: dict[str, str],
    tag: str | None,
    make: Callable[[dict[str, Any]], TicketOut],
) -> Page[TicketOut]:
    owner, status = given.pop("user_id", None), given.pop("status", None)
    scopes = [{"status": one} for one in ([status] if status else [str(one) for one in Status])]
    if owner is not None:
        scopes = [{"user_id": owner, **({"status": status} if status else {})}]
    checked = [TICKETS.c[name] == value for name, value in given.items()]
    if query.overdue is not None:
        checked.append(TICKETS.c.is_overdue == query.overdue)
    if tag is not None:
        has_it = TICKET_TAGS.c.tag == tag, TICKET_TAGS.c.id == TICKETS.c.id
        checked.append(exists().where(*has_it))
    return find_page(session, SEARCH, Search(scopes, {"search": text}, checked=checked), query, make)
