"""Wiring of the orders service."""

from functools import partial

from starlette.applications import Starlette

from contracts.events import SUBSCRIBERS
from services.orders.events import CONSUMES
from services.orders.invoices.documents import RENDER_SECONDS, Documents
from services.orders.models import EVENTS, IDEMPOTENCY, WORK
from services.orders.reports.files import delete_expired
from services.orders.reports.writing import KIND, write
from services.orders.routes import OPERATIONS
from services.orders.settings import Settings
from services.orders.stock.expiry import EXPIRE_SECONDS, expire
from shared.data.database import Database
from shared.events import Events
from shared.peers.client import HttpClient
from shared.service import create_service
from shared.work.duties import Duties, Duty
from shared.work.jobs import Jobs, Kind
from shared.work.runner import Runner

EXPIRE_REPORTS_SECONDS = 3600


def create_app(settings: Settings) -> Starlette:
    database = Database(settings.database_url, settings.database_pool)
    expiring = Duty("expire_reservations", EXPIRE_SECONDS, partial(expire, database), alone=True)
    documents = Documents(database, settings.pdf_fonts)
    rendering = Duty("render_invoices", RENDER_SECONDS, documents.render_pending, alone=True)
    kept = settings.report_time
    jobs = Jobs(WORK, {KIND: Kind(partial(write, database, documents.renderer, kept))})
    deleting = partial(delete_expired, database, kept)
    expiring_reports = Duty("expire_reports", EXPIRE_REPORTS_SECONDS, deleting, alone=True)
    return create_service(
        settings,
        OPERATIONS,
        client=HttpClient(),
        database=database,
        idempotency=IDEMPOTENCY,
        events=Events(EVENTS, CONSUMES, SUBSCRIBERS),
        provide={Documents: documents, Jobs: jobs},
        beside=[
            documents,
            Runner(jobs, database),
            Duties(database, [expiring, rendering, expiring_reports], WORK),
        ],
    )
