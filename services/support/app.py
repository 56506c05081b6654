"""Assembles the support service."""

from starlette.applications import Starlette

from contracts.events import SUBSCRIBERS
from services.support.duties import duties
from services.support.events import CONSUMES
from services.support.models import EVENTS, IDEMPOTENCY, REPORT_PARTS, WORK
from services.support.peers import Accounts, Files, Orders
from services.support.routes import OPERATIONS
from services.support.settings import Settings
from services.support.ticket_reports import SOURCES
from shared.data.database import Database
from shared.events import Events
from shared.peers.client import HttpClient
from shared.reports.reports import Reports
from shared.service import create_service
from shared.work.jobs import Jobs
from shared.work.runner import Runner


def create_app(settings: Settings) -> Starlette:
    database, client = Database(settings.database_url, settings.database_pool), HttpClient()
    reports = Reports(database, REPORT_PARTS, SOURCES, settings.report_time)
    jobs = Jobs(WORK, reports.kinds)
    return create_service(
        settings,
        OPERATIONS,
        client=client,
        database=database,
        idempotency=IDEMPOTENCY,
        provide={
            Jobs: jobs,
            Reports: reports,
            Accounts: Accounts.of(settings, client, name="auth", url=settings.auth_url),
            Files: Files.of(settings, client, name="files", url=settings.files_url),
            Orders: Orders.of(settings, client, name="orders", url=settings.orders_url),
        },
        events=Events(EVENTS, CONSUMES, SUBSCRIBERS),
        beside=[Runner(jobs, database), duties(database, settings, reports.duty)],
    )
