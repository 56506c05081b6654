"""Jobs of a made-up service, and a replica process that runs them."""

import asyncio
import os
import signal
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import insert
from sqlmodel import Session

from shared.data.database import Database
from shared.events import failpoints
from shared.work import runner
from shared.work.jobs import CannotSucceed, Jobs, Kind, Running
from shared.work.runner import Runner
from tests.shared.work.conftest import EFFECTS, JOBS

LEASE = timedelta(seconds=1.5)


def note(job: Running, number: int) -> Any:
    def work(session: Session) -> None:
        row = {"subject": f"{job.subject}:{job.id}", "number": number}
        session.connection().execute(insert(EFFECTS).values(row))

    return work


async def count(job: Running) -> Mapping[str, Any]:
    """Write one effect per number, resuming at the cursor."""
    total = job.input["total"]
    for number in range(job.cursor or 0, total):
        await job.do(note(job, number), cursor=number + 1, progress=number + 1, total=total)
        await asyncio.sleep(job.input.get("pause", 0))
    return {"counted": total}


async def fail(job: Running) -> None:
    raise RuntimeError(f"the secret of {job.subject}")


async def refuse(_: Running) -> None:
    raise CannotSucceed("There is no such month.")


async def kill(_: Running) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def make_jobs(lease: timedelta = LEASE) -> Jobs:
    hurried = {"pause_first": timedelta(milliseconds=20), "attempts_max": 3}
    kinds = {
        "count": Kind(count, attempts_max=1_000),  # kills are not the job's fault
        "fail": Kind(fail, **hurried),  # type: ignore[arg-type]
        "refuse": Kind(refuse),
        "kill": Kind(kill, **hurried),  # type: ignore[arg-type]
    }
    return Jobs(JOBS, kinds, lease=lease)


def replica(url: str, step: str | None = None) -> None:
    """Run jobs in this process until it is killed, at the named step if one is given."""
    failpoints._STEP = step
    runner.LOOK_SECONDS = 0.05
    asyncio.run(_run(url))


async def _run(url: str) -> None:
    async with Runner(make_jobs(), Database(url)):
        await asyncio.Event().wait()
