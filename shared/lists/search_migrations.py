"""Migrations of the indexes in `shared/lists/search.py`; numbered functions never change."""

from collections.abc import Mapping

from alembic import op

from shared.lists.search import GRAM, Part

_DIGITS = "0123456789abcdef"


def create_search_index_1(table: str, columns: Mapping[str, Part], where: str = "1 = 1") -> None:
    """Create the index over the rows for which `where` is true, and fill it.

    A later migration that recreates the table, as Alembic's batch mode does on SQLite, loses the triggers and
    must call this again; it replaces an existing index.
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


def _kept(row: str, name: str, part: Part) -> str:
    column = f"{row}.{name}"
    return {
        Part.ALL: column,
        Part.START: f"substr({column}, 1, {GRAM})",
        Part.END: f"substr({column}, -{GRAM})",
    }[part]


def _place(key: str) -> str:
    """`place_of` in SQL."""
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
