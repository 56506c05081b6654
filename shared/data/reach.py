"""How far a database was migrated, and which older programs may still use it (docs/upgrade.md).

A migration expands, unless it removes or narrows something: then `CONTRACTS = "0028"` in its file names the
migration since which programs no longer use that. Both facts stay with the database, beside its version,
because an older program cannot read the migrations of a newer one.
"""

from typing import NamedTuple

from sqlalchemy import Connection, inspect, text

VERSION_TABLE = "schema_migrations"
REACHED, READABLE_FROM = "reached", "readable_from"


class NotReadable(Exception):
    """A contracting migration lies between the database and the older program."""


class Reach(NamedTuple):
    """The state of one database; all None if it is empty."""

    version: str | None = None  # what programs compare with their newest migration
    reached: str | None = None  # the newest migration that was applied; above `version` after `step_back`
    readable_from: str | None = None  # a program must know this migration

    def is_readable_by(self, program: str | None) -> bool:
        """Whether a program may use the database as it is, although it does not know every migration."""
        return program is not None and self.readable_from is not None and program >= self.readable_from


def read(connection: Connection) -> Reach:
    if not inspect(connection).has_table(VERSION_TABLE):
        return Reach()
    row = connection.execute(text(f"SELECT * FROM {VERSION_TABLE}")).mappings().first()  # noqa: S608 - a constant of ours
    if row is None:
        return Reach()
    version = str(row["version_num"])
    reached, readable_from = row.get(REACHED), row.get(READABLE_FROM)
    if not reached or not readable_from or version > reached:
        # It was last migrated by 0.2.0 or by other means, which say nothing about older programs.
        return Reach(version, version, version)
    return Reach(version, reached, readable_from)


def note(connection: Connection, version: str, before: str | None, contracts: str | None) -> None:
    """Note in the transaction of a migration that it was applied."""
    columns = {column["name"] for column in inspect(connection).get_columns(VERSION_TABLE)}
    for name in sorted({REACHED, READABLE_FROM} - columns):
        connection.execute(text(f"ALTER TABLE {VERSION_TABLE} ADD COLUMN {name} VARCHAR(32)"))
    known = connection.execute(text(f"SELECT {READABLE_FROM} FROM {VERSION_TABLE}")).scalar()  # noqa: S608
    readable = max(known or before or version, contracts or "")
    statement = f"UPDATE {VERSION_TABLE} SET {REACHED} = :version, {READABLE_FROM} = :readable"  # noqa: S608
    connection.execute(text(statement), {"version": version, "readable": readable})


def step_back(connection: Connection, version: str) -> None:
    """Let a program that refuses newer databases, as 0.2.0 does, use this one; no data is changed."""
    found = read(connection)
    if found.version == version:
        return
    if found.reached is None or version > found.reached or not found.is_readable_by(version):
        raise NotReadable(f"it is at {found.reached}, which programs before {found.readable_from} cannot use")
    connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = :version"), {"version": version})  # noqa: S608


def step_forward(connection: Connection) -> None:
    """Take `step_back` back: those migrations were applied, so they must not run again."""
    found = read(connection)
    if found.version != found.reached:
        statement = f"UPDATE {VERSION_TABLE} SET version_num = {REACHED}"  # noqa: S608 - constants of ours
        connection.execute(text(statement))
