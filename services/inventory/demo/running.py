"""The demo: the fake AWS with the invented company runs alongside the service, which reads it like AWS.

In demo mode every account is at the fake AWS, so nothing is ever sent to the real one.
"""

import asyncio
import json
import secrets
import threading
from types import TracebackType
from typing import Self

import structlog
from sqlalchemy import insert, select
from sqlmodel import Session

from services.inventory.aws import Aws
from services.inventory.demo import company
from services.inventory.demo.world import REGION, World
from services.inventory.errors import SyncRunning
from services.inventory.models import ACCOUNTS, Account
from services.inventory.settings import Settings
from services.inventory.sync import syncs
from shared.data.database import Database
from shared.work.jobs import Jobs

NAME = "Demo company (invented)"
RATE = 1000.0

log = structlog.get_logger(__name__)


def demo_settings(settings: Settings) -> Settings:
    """Return settings to read the fake AWS: without its limits of rate and cost, and with fresh keys."""
    rates = ("workspaces_rate", "tagging_rate", "cloudtrail_rate", "cloudwatch_rate")
    return settings.model_copy(
        update={
            **dict.fromkeys(rates, RATE),
            "aws_access_key_id": company.KEY_ID,
            "aws_secret_access_key": type(settings.aws_secret_access_key)(secrets.token_urlsafe(30)),
            "aws_endpoint_override": "off",
            "billing_days": company.DAYS - 1,
            "ce_requests_per_day": 10_000,
        }
    )


class Demo:
    """Runs the fake AWS while it is open, and starts the first sync."""

    def __init__(self, settings: Settings, database: Database, jobs: Jobs, aws: Aws) -> None:
        self._settings, self._database, self._jobs, self._aws = settings, database, jobs, aws

    async def __aenter__(self) -> Self:
        from services.inventory.demo.server import Double  # needs botocore, which is slow to import

        world = await asyncio.to_thread(self._world)
        self._double = Double(world)
        self._thread = threading.Thread(target=self._double.serve_forever, name="demo-aws", daemon=True)
        self._thread.start()
        self._aws.endpoint = self._double.url
        await self._database.run(self._prepare)
        log.warning("demo", message="The inventory shows an invented company, because INVENTORY_DEMO is on.")
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._double.shutdown)
        self._double.server_close()
        self._thread.join()

    def _world(self) -> World:
        return company.build(self._settings.aws_secret_access_key.get_secret_value())

    def _prepare(self, session: Session) -> None:
        """Add the account and start its first sync, unless that was done at an earlier start."""
        if session.connection().execute(select(ACCOUNTS.c.id).limit(1)).scalar() is not None:
            return
        account = Account(name=NAME, regions=json.dumps([REGION]), is_default=True)
        session.connection().execute(insert(ACCOUNTS).values(account.model_dump()))
        try:
            syncs.start(session, self._jobs, kind="all", by=None)
        except SyncRunning:
            return
