"""Wiring of the orders service."""

from functools import partial

from starlette.applications import Starlette

from contracts.events import SUBSCRIBERS
from services.orders.events import CONSUMES
from services.orders.invoices.documents import RENDER_SECONDS, Documents
from services.orders.models import EVENTS, IDEMPOTENCY, REPORT_PARTS, WORK
from services.orders.reports.sources import SOURCES
from services.orders.routes import OPERATIONS
from services.orders.settings import Settings
from services.orders.stock.expiry import EXPIRE_SECONDS, expire
from shared.data.database import Database
from shared.events import Events
from shared.peers.client import HttpClient
from shared.reports.reports import Reports
from shared.service import create_service
from shared.work.duties import Duties, Duty
from shared.work.jobs import Jobs
from shared.work.runner import Runner


def create_app(settings: Settings) -> Starlette:
    database = Database(settings.database_url, settings.database_pool)
    expiring = Duty("expire_reservations", EXPIRE_SECONDS, partial(expire, database), alone=True)
    documents = Documents(database, settings.pdf_fonts)
    rendering = Duty("render_invoices", RENDER_SECONDS, documents.render_pending, alone=True)
    reports = Reports(database, REPORT_PARTS, SOURCES, settings.report_time)
    jobs = Jobs(WORK, reports.kinds)
    return create_service(
        settings,
        OPERATIONS,
        client=HttpClient(),
        database=database,
        idempotency=IDEMPOTENCY,
        events=Events(EVENTS, CONSUMES, SUBSCRIBERS),
        provide={Documents: documents, Jobs: jobs, Reports: reports},
        beside=[
            documents,
            Runner(jobs, database),
            Duties(database, [expiring, rendering, reports.duty], WORK),
        ],
    )
