"""Whether the indexes of a SQLite database have every record, and nothing else.

Lists and searches read along them, and a check reads by position, so a damaged index hides records from lists
only. If a search finds every record in an index, and the index has as many entries as there are records, both
are the same. The entries are also in order, because a search misses one that is out of order.
"""

from collections.abc import Callable, Iterator

from sqlalchemy import Index, func, select, text
from sqlalchemy.exc import DBAPIError

from services.audit.models import RECORDS
from services.audit.queries import scan
from services.audit.schemas import VERIFY_RECORDS_MAX
from shared.data.database import Database
from shared.errors import Unavailable

RECORDS_AT_ONCE = 10_000
MAY_DIFFER = "lists may hide records or show others"
REPAIR = "repair it with REINDEX"

Doubt = Callable[[int | None, str], None]


def check_indexes(database: Database, doubt: Doubt, first: int, end: int, *, is_whole: bool) -> None:
    """Look up the records from one position up to another in every index.

    `is_whole` says that these are all records; only then can superfluous entries be counted.
    """
    records, is_counted = range(first, end), is_whole and end - first <= VERIFY_RECORDS_MAX
    if is_counted:
        _check_namesakes(database, doubt)
    if not database.is_sqlite:
        if is_counted:
            _check_twins(database, doubt, records)
        return
    for index in sorted(RECORDS.indexes, key=lambda one: str(one.name)):
        try:
            _check_on_sqlite(database, doubt, index, records, is_counted=is_counted)
        except (DBAPIError, Unavailable) as error:
            cause = error.__cause__ if isinstance(error, Unavailable) else error
            what = f"the index {index.name} cannot be read: {str(cause).splitlines()[0]}"
            doubt(None, f"{MAY_DIFFER}: {what}; {REPAIR}")


def _check_on_sqlite(
    database: Database, doubt: Doubt, index: Index, records: range, *, is_counted: bool
) -> None:
    state = _state(database, index)
    if state == []:  # lists are slower without it, but whole
        return
    if state != _columns(index):  # a search along it could take forever
        doubt(None, f"{MAY_DIFFER}: the index {index.name} is not as the service created it")
        return
    for seq in _missing(database, _on_sqlite(index), records):
        doubt(seq, f"lists may hide it: the index {index.name} lacks it; {REPAIR}")
    if is_counted and _has_others(database, index):
        what = f"the index {index.name} has other entries than the records"
        doubt(None, f"{MAY_DIFFER}: {what}; {REPAIR}")


def _check_twins(database: Database, doubt: Doubt, records: range) -> None:
    """A query cannot tell PostgreSQL which index to use. But a record that is stored twice can be counted."""
    with database.transaction(write=False) as session:
        stored = len(scan(session, records.start, records.stop, "true", limit=len(records) + 1))
    if stored > len(records):
        doubt(None, f"{MAY_DIFFER}: there are more records than positions; look for duplicates of `seq`")


def _check_namesakes(database: Database, doubt: Doubt) -> None:
    try:
        with database.transaction(write=False) as session:
            shared = session.connection().execute(_NAMESAKES).scalar_one_or_none()
    except (DBAPIError, Unavailable):
        if not database.is_sqlite:  # there the index is damaged, which is reported with its name
            doubt(None, f"{MAY_DIFFER}: the database could not compare the ids of records")
        return
    if shared is not None:
        doubt(None, f"{MAY_DIFFER}: several records have the id {shared}, and a page may end between them")


_NAMESAKES = (
    select(RECORDS.c.id).group_by(RECORDS.c.id).having(func.count() > 1).order_by(RECORDS.c.id).limit(1)
)


def _missing(database: Database, lookup: str, records: range) -> Iterator[int]:
    """Return the first missing record of each piece; each in a transaction of its own."""
    for low in records[::RECORDS_AT_ONCE]:
        places = {"low": low, "high": min(low + RECORDS_AT_ONCE, records.stop)}
        with database.transaction(write=False) as session:
            found = session.connection().execute(text(lookup), places).scalar_one_or_none()
        if found is not None:
            yield int(found)


def _on_sqlite(index: Index) -> str:
    same = " AND ".join(f"i.{column.name} IS t.{column.name}" for column in index.columns)
    return (
        "SELECT t.seq FROM records AS t NOT INDEXED WHERE t.seq >= :low AND t.seq < :high"  # noqa: S608 - own names
        f"{_where(index, 't')} AND NOT EXISTS (SELECT 1 FROM records AS i INDEXED BY {index.name}"
        f" WHERE {same} AND i.rowid = t.rowid{_where(index, 'i')}) ORDER BY t.seq LIMIT 1"
    )


def _has_others(database: Database, index: Index) -> bool:
    # Not count(*), for which SQLite chooses an index itself.
    counts = [
        text(f"SELECT sum(1) FROM records {how} WHERE true{_where(index, 'records')}")  # noqa: S608 - own names
        for how in ("NOT INDEXED", f"INDEXED BY {index.name}")
    ]
    with database.transaction(write=False) as session:
        records, entries = (session.connection().execute(one).scalar_one() for one in counts)
    return bool(records != entries)


def _state(database: Database, index: Index) -> list[tuple[str, int, str]]:
    """Return the columns of the index in the database, each with its direction and its collation."""
    columns = text('SELECT name, "desc", coll FROM pragma_index_xinfo(:name) WHERE "key" = 1 ORDER BY seqno')
    with database.transaction(write=False) as session:
        found = session.connection().execute(columns, {"name": index.name})
        return [(row[0], row[1], row[2]) for row in found]


def _columns(index: Index) -> list[tuple[str, int, str]]:
    return [(column.name, 0, "BINARY") for column in index.columns]


def _where(index: Index, table: str) -> str:
    """Return the condition of a partial index."""
    condition = index.dialect_options["sqlite"]["where"]
    return "" if condition is None else f" AND {table}.{condition}"
