"""The examples in docs/chassis do what the pages say."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator  # noqa: F401 - for an example
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import Response  # noqa: F401 - for an example

from shared.caller import Caller
from shared.data.database import Database
from shared.http.operations import Operation  # noqa: F401 - for an example
from shared.http.streams import ServerSentEvent, Streams, last_event_id  # noqa: F401 - for an example
from shared.identity.revocations import Revocations
from shared.ids import new_id
from shared.work.cron import Cron
from shared.work.duties import Duties, Duty, IsStopping
from shared.work.jobs import Jobs, Kind, Running
from shared.work.leased import Queue, pause_after
from shared.work.operations import job_operations
from shared.work.runner import Runner
from tests.shared.work.conftest import JOBS, WORK

PAGES = Path(__file__).resolve().parents[3] / "docs" / "chassis"


def example(page: str) -> str:
    [code] = re.findall(r"```python\n(.*?)```", (PAGES / page).read_text(), re.DOTALL)
    assert 10 <= len(code.splitlines()) <= 24
    return str(code)


def test_example_of_leased_work_sends_and_retries(database: Database) -> None:
    sent: list[str] = []

    def send(body: str) -> None:
        sent.append(body)
        if len(sent) == 1:
            raise OSError("connection refused")

    names: dict[str, Any] = {
        "WorkTable": lambda _metadata: WORK,
        "Queue": Queue,
        "database": database,
        "metadata": None,
        "send": send,
        "timedelta": timedelta,
        "pause_after": pause_after,
    }
    code = example("leased-work.md")
    exec(code, names)
    with database.transaction(write=False) as session:
        [row] = session.connection().execute(select(WORK.work)).all()
    assert (row.error, row.attempts) == ("OSError('connection refused')", 1)
    assert sent == ['{"to": "ann@example.com"}']

    exec(code.replace('key="ann"', 'key="bob"'), names)
    with database.transaction(write=False) as session:
        assert [row.key for row in session.connection().execute(select(WORK.work))] == ["ann"]


async def test_example_of_jobs_adds_up_every_month_once(database: Database) -> None:
    written: list[tuple[str, int]] = []
    names: dict[str, Any] = {
        "Running": Running,
        "JobTables": lambda _metadata: JOBS,
        "Jobs": Jobs,
        "Kind": Kind,
        "job_operations": job_operations,
        "write_month": lambda _session, subject, month: written.append((subject, month)),
        "metadata": None,
        "database": database,
        "account_id": new_id(),
    }
    exec(example("jobs.md"), names)
    async with Runner(names["JOBS"], database), asyncio.timeout(20):
        while (row := await database.read(names["JOBS"].read, names["job_id"]))["ended"] is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert (row["result"], row["progress"]) == ('{"months":3}', 3)
    assert written == [("2026", 0), ("2026", 1), ("2026", 2)]
    assert len(names["OPERATIONS"]) == 4


async def test_example_of_streams_continues_after_the_last_event() -> None:
    wanted = "AsyncIterator Caller Operation Request Response ServerSentEvent Streams last_event_id"
    names: dict[str, Any] = {name: globals()[name] for name in wanted.split()}
    exec(example("streams.md"), names)
    caller = Caller("1", "user", None, None, None, frozenset(), float("inf"))
    request = Request({"type": "http", "headers": [(b"last-event-id", b"1")]})
    stream = await names["follow_readings"](caller, Streams(Revocations()), request)
    sent = [bytes(event) async for event in stream._events]
    assert sent == [b"id: 2\nevent: reading\ndata: reading 2\n\n"]


async def test_example_of_duties_sweeps_and_refreshes(database: Database) -> None:
    swept, refreshed = [3, 2, 1, 0], threading.Event()
    names: dict[str, Any] = {
        "Duties": Duties,
        "Duty": Duty,
        "IsStopping": IsStopping,
        "Cron": Cron,
        "write_report": lambda _: None,
        "WORK": WORK,
        "Database": Database,
        "delete_some_old_rows": lambda: swept.pop(0),
        "refresh_memory": refreshed.set,
    }
    exec(example("duties.md"), names)
    async with names["duties"](database), asyncio.timeout(20):
        while swept or not refreshed.is_set():  # noqa: ASYNC110 - its threads set no event
            await asyncio.sleep(0.02)
