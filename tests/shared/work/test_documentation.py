"""The examples of docs/chassis do what the pages say."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from shared.data.database import Database
from shared.work.leased import Queue, pause_after
from tests.shared.work.conftest import WORK

PAGES = Path(__file__).resolve().parents[3] / "docs" / "chassis"


def example(page: str) -> str:
    [code] = re.findall(r"```python\n(.*?)```", (PAGES / page).read_text(), re.DOTALL)
    assert 10 <= len(code.splitlines()) <= 22
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
