"""The files of reports: written in parts, each together with the progress of its job."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, insert, select
from sqlmodel import Session

from services.orders.models import REPORT_PARTS
from shared.clock import now
from shared.data.database import Database
from shared.ids import first_id
from shared.work.duties import IsStopping

EXPIRED_AT_ONCE = 100


def add_part(session: Session, report_id: str, number: int, content: bytes) -> None:
    row = {"report_id": report_id, "number": number, "content": content}
    session.connection().execute(insert(REPORT_PARTS), [row])


async def parts(database: Database, report_id: str) -> AsyncIterator[bytes]:
    """Read the file part by part. It ends early if it expires meanwhile."""
    number = 0
    while (content := await database.read(_part, report_id, number)) is not None:
        yield content
        number += 1


def _part(session: Session, report_id: str, number: int) -> bytes | None:
    mine = REPORT_PARTS.c.report_id == report_id, REPORT_PARTS.c.number == number
    found = session.connection().execute(select(REPORT_PARTS.c.content).where(*mine)).scalar()
    return None if found is None else bytes(found)


def delete_expired(database: Database, kept: timedelta, is_stopping: IsStopping) -> None:
    """Delete the files of old reports, also of those that failed or were cancelled: a duty."""
    key = REPORT_PARTS.c.report_id, REPORT_PARTS.c.number
    while not is_stopping():
        old = select(*key).where(key[0] < first_id(now(), -kept)).order_by(*key).limit(EXPIRED_AT_ONCE)
        with database.transaction() as session:
            execute = session.connection().execute
            found: list[Any] = list(execute(old))
            for row in found:
                execute(delete(REPORT_PARTS).where(key[0] == row.report_id, key[1] == row.number))
        if len(found) < EXPIRED_AT_ONCE:
            return
