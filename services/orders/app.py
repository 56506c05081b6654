"""Wiring of the orders service."""

from starlette.applications import Starlette

from contracts.events import SUBSCRIBERS
from services.orders.events import CONSUMES
from services.orders.models import EVENTS, IDEMPOTENCY
from services.orders.routes import OPERATIONS
from services.orders.settings import Settings
from shared.data.database import Database
from shared.events import Events
from shared.peers.client import HttpClient
from shared.service import create_service


def create_app(settings: Settings) -> Starlette:
    return create_service(
        settings,
        OPERATIONS,
        client=HttpClient(),
        database=Database(settings.database_url, settings.database_pool),
        idempotency=IDEMPOTENCY,
        events=Events(EVENTS, CONSUMES, SUBSCRIBERS),
    )
