"""Queries on records, and the form in which records are returned."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from pydantic_core import to_json
from sqlalchemy import ColumnElement, Dialect, Select, TypeDecorator, and_, literal, select, text, type_coerce
from sqlmodel import Session

from services.audit.log import rfc3339, tree_of
from services.audit.models import PERSONAL, RECORDS, REFUSED
from services.audit.proofs import canonical
from services.audit.schemas import SEQ_MAX, FilterLogs
from services.audit.statements import LOG_ITSELF, PERSON_ERASED
from shared.data.database import UtcDateTime
from shared.ids import first_id
from shared.lists.pagination import Walk

# An id begins with its creation time; the timestamp may come from the clock of another machine.
CLOCKS_APART = timedelta(minutes=5)
CHUNK_RECORDS = 1024
PLACES_AT_ONCE = 500
NESTED_MAX = 200  # with fewer brackets, every JSON library can read and write a value
_SURROGATE = re.compile(r"\\u[dD]")  # half a character, which no export can hold
LISTABLE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # an id after which a list can continue

# An outer join: an attacker may have removed rows of personal data, and that must show.
_TOGETHER = RECORDS.outerjoin(
    PERSONAL, and_(PERSONAL.c.seq == RECORDS.c.seq, PERSONAL.c.received == RECORDS.c.received)
)
_COLUMNS = [*RECORDS.c, *(column for column in PERSONAL.c if column.name not in {"seq", "received"})]
EVERYTHING = select(*_COLUMNS).select_from(_TOGETHER)


class TimeText(TypeDecorator[str]):
    """A timestamp as hashed in the tree; not converted to a datetime where the database stores text."""

    impl = UtcDateTime
    cache_ok = True

    def result_processor(self, dialect: Dialect, _type: object) -> Callable[[Any], str]:
        return _as_written if dialect.name == "sqlite" else rfc3339


def _as_written(value: object) -> str:
    """Return the text that was hashed; a format that the log never writes must stay visible."""
    written = str(value)
    return f"{written.removesuffix('+00:00')}Z" if written.endswith("+00:00") else f"{written} as stored"


_TIMES = {"received", "timestamp"}
_EXPORTED = [
    type_coerce(column, TimeText).label(column.name) if column.name in _TIMES else column
    for column in _COLUMNS
]


def matching(query: FilterLogs, user_id: str | None) -> Select[Any]:
    """Return the records that a filter selects."""
    walk, checked = by_index(query, user_id)
    return walk.bounded.where(*checked)


def by_index(query: FilterLogs, user_id: str | None) -> tuple[Walk, list[ColumnElement[bool]]]:
    """Return the same in two parts: the conditions that one index covers, and those to check for each record.

    Every index slows down each insert, so there is one for each condition and none for combinations.
    """
    wanted = {
        RECORDS.c.resource: query.resource,
        RECORDS.c.user_id: user_id,
        RECORDS.c.action: query.action,
        RECORDS.c.outcome: query.outcome,
    }
    equal = [column == value for column, value in wanted.items() if value is not None]
    if query.outcome == REFUSED and query.resource is None:
        # As a literal, so that the planner recognises the partial indexes of refused records.
        equal[-1] = RECORDS.c.outcome == literal(REFUSED, literal_execute=True)
        of_user, rest = (equal[:1], equal[1:-1]) if user_id is not None else ([], equal[:-1])
        indexed, checked = [*of_user, equal[-1]], rest
    elif query.outcome is not None and len(equal) == 1:
        indexed, checked = [], equal  # nearly all records are successes
    else:
        indexed, checked = equal[:1], equal[1:]
    lowest = highest = None
    if query.since is not None:
        lowest = first_id(query.since, -CLOCKS_APART)
        indexed.append(RECORDS.c.timestamp >= query.since)
    if query.until is not None:
        highest = first_id(query.until, CLOCKS_APART)
        indexed.append(RECORDS.c.timestamp < query.until)
    return Walk(EVERYTHING.where(*indexed), RECORDS.c.id, highest, lowest), checked


def read_range(session: Session, low: int, high: int) -> list[dict[str, Any]]:
    """Return the records from one position up to another, in the order of the log."""
    within = EVERYTHING.where(RECORDS.c.seq >= low, RECORDS.c.seq < high).order_by(RECORDS.c.seq)
    return read_lines(session, within)


def read_lines(session: Session, statement: Select[Any]) -> list[dict[str, Any]]:
    """Records with everything that is needed to check them."""
    tree = tree_of(session)
    found = session.connection().execute(statement.with_only_columns(*_EXPORTED))
    names = ("type", *found.keys())
    lines = [dict(zip(names, ("record", *row), strict=True)) for row in found.all()]
    for line in lines:
        line["leaf"] = tree.leaf(line["seq"])
    return lines


def erased_by(lines: Iterable[Mapping[str, Any]]) -> set[int]:
    """Return the positions of the statements that explain the cleared fields of these records."""
    names = ("origin_erased_by", "details_erased_by")
    return {line[name] for line in lines for name in names if line.get(name) is not None}


def read_erasures(session: Session, places: Iterable[int]) -> list[dict[str, Any]]:
    """Return the statements at these positions that record the erasure of a person."""
    found = read_places(session, places)
    return [one for one in found if one["action"] == PERSON_ERASED and one["actor"] == LOG_ITSELF]


def read_places(session: Session, places: Iterable[int]) -> list[dict[str, Any]]:
    """Return the records at these positions. The caller checks everything else.

    A condition in the query would use an index, which the owner of the database can falsify.
    """
    wanted, found = sorted(places), list[dict[str, Any]]()
    for start in range(0, len(wanted), PLACES_AT_ONCE):
        some = EVERYTHING.where(RECORDS.c.seq.in_(wanted[start : start + PLACES_AT_ONCE]))
        found += read_lines(session, some.order_by(RECORDS.c.seq))
    return [line | {"type": "statement"} for line in found]


def scan(
    session: Session, low: int, high: int, condition: str, *, limit: int = SEQ_MAX, **values: str
) -> list[int]:
    """Return the first positions in a range whose records match, without any index but that of positions."""
    connection = session.connection()
    is_sqlite = connection.dialect.name == "sqlite"
    query = text(
        f"SELECT seq FROM records {'NOT INDEXED' if is_sqlite else ''}"  # noqa: S608 - no input
        f" WHERE seq >= :low AND seq < :high AND ({condition}) ORDER BY seq LIMIT :limit"
    )
    for name in () if is_sqlite else _INDEXES:
        connection.execute(text(f"SET LOCAL {name} = off"))
    found = list(connection.execute(query, {"low": low, "high": high, "limit": limit, **values}).scalars())
    for name in () if is_sqlite else _INDEXES:
        connection.execute(text(f"SET LOCAL {name} TO DEFAULT"))
    return found


_INDEXES = ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan")


def metadata_of(recorded: str | None) -> Any:
    """Return the value as recorded; one that cannot be read or written as JSON is returned unchanged."""
    if recorded is None:
        return None
    try:
        value = json.loads(recorded)
        if recorded.count("[") + recorded.count("{") > NESTED_MAX or _SURROGATE.search(recorded):
            to_json(value)
    except (ValueError, RecursionError):
        return recorded
    return value


def checked_metadata(recorded: Any) -> str:
    """Return the text of the commitment, or an error if no export can hold this text.

    The log stores at most 20 levels, but whoever owns the database can append a record with a thousand, or
    with a text that has another form once it was read: the verifier would find it changed.
    """
    text = str(recorded)
    text.encode()  # bytes that are not text are another fault
    value = metadata_of(text)
    if text.count("[") + text.count("{") > NESTED_MAX and isinstance(value, str):
        raise ValueError("its metadata is nested too deeply")
    if canonical(value) != text:
        raise ValueError("its metadata is not in the form that the log writes")
    return text
