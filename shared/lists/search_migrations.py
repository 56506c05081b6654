"""Migrations of the indexes in `shared/lists/search.py`; numbered functions never change."""

from collections.abc import Mapping

from alembic import op

from shared.lists.search import GRAM, SPREAD, Part

_DIGITS = "0123456789abcdef"


def create_search_index_1(table: str, columns: Mapping[str, Part], where: str = "1 = 1") -> None:
    """Create the index over the rows for which `where` is true, and fill it.

    A later migration that recreates the table, as Alembic's batch mode does on SQLite, loses the triggers and
    must call this again, and then `spread_search_index_2`; it replaces an existing index.
    """
    if op.get_bind().dialect.name == "sqlite":
        _create_on_sqlite(table, columns, where)
    else:
        _create_on_postgresql(table, columns, where)


def _create_on_sqlite(table: str, columns: Mapping[str, Part], where: str) -> None:
    index = f"{table}_search"
    names = ", ".join(columns)
    for what in ("insert", "update", "delete"):
        op.execute(f"DROP TRIGGER IF EXISTS {index}_{what}")
    op.execute(f"DROP TABLE IF EXISTS {index}")
    op.execute(
        f"CREATE VIRTUAL TABLE {index} USING fts5(id UNINDEXED, {names}, "
        "tokenize = 'trigram case_sensitive 1', detail = column)"
    )
    adding = f"INSERT INTO {index} (rowid, id, {names})"

    def values(row: str) -> str:
        return ", ".join([_place(f"{row}.id"), f"{row}.id", *(_kept(row, *one) for one in columns.items())])

    def only(row: str) -> str:
        return where.replace("{row}", row)

    remove = f"DELETE FROM {index} WHERE rowid = {_place('OLD.id')}"  # noqa: S608 - names of ours
    add = f"{adding} SELECT {values('NEW')} WHERE {only('NEW')}"
    changed = " OR ".join(f"OLD.{name} IS NOT NEW.{name}" for name in columns)
    op.execute(f"CREATE TRIGGER {index}_insert AFTER INSERT ON {table} BEGIN {add}; END")
    op.execute(f"CREATE TRIGGER {index}_delete AFTER DELETE ON {table} BEGIN {remove}; END")
    op.execute(
        f"CREATE TRIGGER {index}_update AFTER UPDATE ON {table} "
        f"WHEN {changed} OR ({only('OLD')}) IS NOT ({only('NEW')}) BEGIN {remove}; {add}; END"
    )
    op.execute(f"{adding} SELECT {values(table)} FROM {table} WHERE {only(table)} ORDER BY id")  # noqa: S608 - names of ours


def spread_search_index_2(table: str, columns: Mapping[str, Part], where: str = "1 = 1") -> None:
    """Let SQLite's index contain rows whose ids lead to the same rowid; before, it refused them.

    A row whose rowid is taken gets one next to it, between the rows with smaller and larger ids. If there is
    none, as after three ids within a microsecond, it gets the next free one.
    """
    if op.get_bind().dialect.name != "sqlite":
        return
    index, names = f"{table}_search", ", ".join(columns)
    kept = ", ".join(_kept("NEW", *one) for one in columns.items())

    def only(row: str) -> str:
        return where.replace("{row}", row)

    place = _place("OLD.id")
    around = f"({place}) - {SPREAD + 1} AND ({place}) + {SPREAD + 1}"
    remove = f"DELETE FROM {index} WHERE rowid BETWEEN {around} AND id = OLD.id"  # noqa: S608 - names of ours
    # A row that is not found by its text is better than a change that fails.
    is_free = f"NOT EXISTS (SELECT 1 FROM {index} WHERE rowid = free)"  # noqa: S608 - names of ours
    add = (
        f"INSERT INTO {index} (rowid, id, {names}) SELECT free, NEW.id, {kept} "  # noqa: S608 - names of ours
        f"FROM ({_free_place(index)}) WHERE {is_free} AND {only('NEW')}"
    )
    changed = " OR ".join(f"OLD.{name} IS NOT NEW.{name}" for name in columns)
    for what in ("insert", "update", "delete"):
        op.execute(f"DROP TRIGGER IF EXISTS {index}_{what}")
    op.execute(f"CREATE TRIGGER {index}_insert AFTER INSERT ON {table} BEGIN {add}; END")
    op.execute(f"CREATE TRIGGER {index}_delete AFTER DELETE ON {table} BEGIN {remove}; END")
    op.execute(
        f"CREATE TRIGGER {index}_update AFTER UPDATE ON {table} "
        f"WHEN {changed} OR ({only('OLD')}) IS NOT ({only('NEW')}) BEGIN {remove}; {add}; END"
    )


def _free_place(index: str) -> str:
    """Return the SQL that selects a free rowid for the new row, as `free`."""
    number, far = f"{index}.rowid", SPREAD + 1
    neighbours = (
        f"SELECT place, coalesce(max(CASE WHEN id < NEW.id THEN {number} END), place - {far}) AS low, "  # noqa: S608 - names of ours
        f"coalesce(min(CASE WHEN id > NEW.id THEN {number} END), place + {far}) AS high "
        f"FROM (SELECT {_place('NEW.id')} AS place) "
        f"LEFT JOIN {index} ON {number} BETWEEN place - {SPREAD} AND place + {SPREAD}"
    )
    next_free = (
        f"SELECT min(one.rowid) + 1 FROM {index} AS one WHERE one.rowid BETWEEN place AND place + {SPREAD} "  # noqa: S608 - names of ours
        f"AND NOT EXISTS (SELECT 1 FROM {index} AS other WHERE other.rowid = one.rowid + 1)"
    )
    return (
        "SELECT CASE WHEN low < place AND place < high THEN place "  # noqa: S608 - names of ours
        f"WHEN low + 1 >= high THEN coalesce(({next_free}), place) "
        f"WHEN low < place THEN high - 1 ELSE low + 1 END AS free FROM ({neighbours})"
    )


def _kept(row: str, name: str, part: Part) -> str:
    column = f"{row}.{name}"
    return {
        Part.ALL: column,
        Part.START: f"substr({column}, 1, {GRAM})",
        Part.END: f"substr({column}, -{GRAM})",
    }[part]


def _place(key: str) -> str:
    """Return `place_of` in SQL."""
    positions = [*range(1, 9), *range(10, 14), *range(16, 19)]
    digits = [
        f"((instr('{_DIGITS}', substr({key}, {position}, 1)) - 1) << {4 * power + 2})"
        for position, power in zip(positions, range(len(positions) - 1, -1, -1), strict=True)
    ]
    return " | ".join([*digits, f"((instr('{_DIGITS}', substr({key}, 20, 1)) - 1) & 3)"])


def _create_on_postgresql(table: str, columns: Mapping[str, Part], where: str) -> None:
    index = f"{table}_search"
    arguments, parts = ", ".join(["text"] * len(columns)), []
    for number, part in enumerate(columns.values()):
        argument = f"${number + 1}"
        if part is Part.ALL:
            grams = f"SELECT '{number}' || substr({argument}, i, {GRAM})"
            parts.append(f"ARRAY({grams} FROM generate_series(1, length({argument}) - {GRAM - 1}) AS i)")
        else:
            parts.append(f"ARRAY['{number}' || {argument}]")
    op.execute(
        f"CREATE OR REPLACE FUNCTION {index}_tokens({arguments}) RETURNS text[] "
        f"LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT {' || '.join(parts)} $$"
    )
    given = ", ".join(f"CAST({name} AS text)" for name in columns)
    op.execute(f"DROP INDEX IF EXISTS ix_{index}")
    only = where.replace("{row}.", "")
    # No GIN pending list (fastupdate): every search would have to scan it in full.
    indexed = f"USING gin ({index}_tokens({given})) WITH (fastupdate = off) WHERE {only}"
    op.execute(f"CREATE INDEX ix_{index} ON {table} {indexed}")
