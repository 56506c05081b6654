"""The files of reports: written in parts, each together with the progress of its job."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from sqlalchemy import Column, Integer, LargeBinary, MetaData, String, Table, delete, insert, select
from sqlmodel import Session

from shared.clock import now
from shared.data.database import Database
from shared.ids import first_id
from shared.work.duties import IsStopping

EXPIRED_AT_ONCE = 100


def report_parts(metadata: MetaData) -> Table:
    """Return the table of the pieces of files. The id of a report is that of its job."""
    return Table(
        "report_parts",
        metadata,
        Column("report_id", String(36), primary_key=True),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("content", LargeBinary, nullable=False),
    )


class Files:
    """The files in this table."""

    def __init__(self, parts: Table) -> None:
        self._table = parts

    def add_part(self, session: Session, report_id: str, number: int, content: bytes) -> None:
        row = {"report_id": report_id, "number": number, "content": content}
        session.connection().execute(insert(self._table), [row])

    async def parts(self, database: Database, report_id: str) -> AsyncIterator[bytes]:
        """Read the file part by part. It ends early if it expires meanwhile."""
        number = 0
        while (content := await database.read(self._part, report_id, number)) is not None:
            yield content
            number += 1

    def _part(self, session: Session, report_id: str, number: int) -> bytes | None:
        columns = self._table.c
        mine = columns.report_id == report_id, columns.number == number
        found = session.connection().execute(select(columns.content).where(*mine)).scalar()
        return None if found is None else bytes(found)

    def delete_expired(self, database: Database, kept: timedelta, is_stopping: IsStopping) -> None:
        """Delete the files of old reports, also of those that failed or were cancelled: a duty."""
        key = self._table.c.report_id, self._table.c.number
        while not is_stopping():
            old = select(*key).where(key[0] < first_id(now(), -kept)).order_by(*key).limit(EXPIRED_AT_ONCE)
            with database.transaction() as session:
                execute = session.connection().execute
                found: list[Any] = list(execute(old))
                for row in found:
                    execute(delete(self._table).where(key[0] == row.report_id, key[1] == row.number))
            if len(found) < EXPIRED_AT_ONCE:
                return
