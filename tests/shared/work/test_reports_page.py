"""The example in docs/chassis/reports.md does what the page says."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select
from sqlmodel import Session
from starlette.responses import StreamingResponse

from shared.caller import Caller
from shared.data.database import Database, UtcDateTime
from shared.identity.tokens import admin
from shared.ids import first_id, new_id
from shared.reports.files import report_parts
from shared.reports.operations import report_operations
from shared.reports.reports import Reports
from shared.reports.schemas import ReportInput
from shared.reports.source import Heading, Source, Summary, cell
from shared.work.jobs import Jobs
from shared.work.operations import JobOut
from shared.work.runner import Runner
from tests.pdfs import text_of
from tests.shared.work.conftest import WORK
from tests.shared.work.test_documentation import PAGES

TAKEN = datetime(2026, 1, 31, 12, tzinfo=UTC)
KNOWN = (Caller, Session, JobOut, Literal, ReportInput, Heading, Source, Summary, Reports, Jobs, timedelta)


def readings(metadata: MetaData) -> Table:
    return Table(
        "readings",
        metadata,
        Column("id", String(36), primary_key=True),
        Column("taken", UtcDateTime),
        Column("place", String(20)),
        Column("watts", Integer),
    )


async def test_example_lists_readings_and_sums_them_up(database: Database) -> None:
    [code] = re.findall(r"```python\n(.*?)```", (PAGES / "reports.md").read_text(), re.DOTALL)
    metadata = MetaData()
    table = readings(metadata)
    names: dict[str, Any] = {getattr(one, "__name__", "Literal"): one for one in KNOWN}
    names |= {"select": select, "cell": cell, "report_parts": report_parts, "admin": admin}
    names |= {"report_operations": report_operations, "READINGS": table, "metadata": metadata}
    names |= {"database": database, "TABLES": WORK}
    exec(code, names)
    metadata.create_all(database.engine)
    rows = [
        {"id": first_id(TAKEN + timedelta(hours=each)), "taken": TAKEN, "place": "=cellar", "watts": 1_000}
        for each in range(3)
    ]
    jobs: Jobs = names["JOBS"]
    with database.transaction() as session:
        session.connection().execute(insert(table), rows)
    contents = [await written(names, jobs, database, form) for form in ("csv", "pdf")]
    text = " ".join(text_of(contents[1]).split())

    assert contents[0].decode().splitlines() == [
        "taken,place,watts",
        *["2026-01-31T12:00:00Z,'=cellar,1000"] * 3,
    ]
    assert text.startswith("Readings January 2026 (UTC)")
    assert "Month Place Watts 2026-01 =cellar 3,000" in text
    assert len(names["OPERATIONS"]) == 1 + 4 + 1


async def written(names: dict[str, Any], jobs: Jobs, database: Database, form: str) -> bytes:
    """Write a report in this format, and return its file."""
    wanted = names["StartReadings"](kind="readings", month="2026-01", format=form)
    with database.transaction() as session:
        job = names["REPORTS"].start(session, jobs, new_id(), wanted)
    async with Runner(jobs, database), asyncio.timeout(60):
        while (await database.read(jobs.read, job.id))["ended"] is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    response = await names["REPORTS"].respond(jobs, job.id)
    assert isinstance(response, StreamingResponse)
    parts = [one async for one in response.body_iterator]
    return b"".join(one for one in parts if isinstance(one, bytes))
