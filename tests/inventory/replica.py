"""A process that runs syncs and kills itself during a given step."""

import asyncio
import os
import signal
from datetime import timedelta
from pathlib import Path

from services.inventory.aws import Aws
from services.inventory.models import EVENTS, JOBS
from services.inventory.settings import Settings
from services.inventory.sync import syncs
from services.inventory.sync.syncer import Syncer
from shared.data.database import Database
from shared.events import Events
from shared.peers.client import HttpClient
from shared.testing import TEST_INTERNAL_SECRET, TEST_JWT_SECRET
from shared.work import jobs, runner
from shared.work.jobs import Jobs, Kind
from shared.work.runner import Runner
from tests.inventory import aws

LEASE = timedelta(seconds=1)
READY = ".ready"  # the ending of the file that says that a replica takes jobs
ATTEMPTS = 200  # each killed process counts as one


def make_settings(url: str, folder: str) -> Settings:
    return Settings.model_validate(
        {
            "data_dir": folder,
            "database_url": url,
            "jwt_secret": TEST_JWT_SECRET,
            "internal_secret": TEST_INTERNAL_SECRET,
            "aws_access_key_id": aws.KEY_ID,
            "aws_secret_access_key": aws.SECRET,
            "workspaces_rate": 1000,
            "tagging_rate": 1000,
            "cloudtrail_rate": 1000,
            "cloudwatch_rate": 1000,
            "aws_retry_seconds": 0.001,
            "usage_days": 25,  # a few pages: each takes a process that is killed after it
        }
    )


def make_jobs(database: Database, settings: Settings, lease: timedelta = LEASE) -> Jobs:
    """Create the service's jobs, with an event spine that has no subscribers."""
    Events(EVENTS, {}, {}).attach(settings, database, HttpClient())
    handler = Syncer(database, Aws(settings)).run
    return Jobs(JOBS, {syncs.JOB: Kind(handler, ATTEMPTS)}, lease=lease)


def live(url: str, folder: str, dies_at: int, lease: timedelta = LEASE) -> None:
    """Run syncs; the process kills itself before it commits step number `dies_at` (0 for never)."""
    steps = 0

    def reached(step: str) -> None:
        nonlocal steps
        steps += step == "job: stepping"
        if steps == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    if dies_at:
        jobs.reached = reached  # type: ignore[attr-defined]
    runner.LOOK_SECONDS = 0.05
    asyncio.run(_run(url, folder, lease))


async def _run(url: str, folder: str, lease: timedelta) -> None:
    settings = make_settings(url, folder)
    database = Database(url)
    async with Runner(make_jobs(database, settings, lease), database):
        Path(folder, f"{os.getpid()}{READY}").touch()  # noqa: ASYNC240 - it serves nobody
        await asyncio.Event().wait()
