"""The orders service without events and records; what the real one needs more is their cost."""

from dataclasses import replace

from sqlmodel import Session
from starlette.applications import Starlette

from services.orders.handlers import orders
from services.orders.models import IDEMPOTENCY
from services.orders.routes import OPERATIONS
from services.orders.settings import Settings
from shared.data.database import Database
from shared.events import Event
from shared.events.outbox import OUTBOX
from shared.peers.client import HttpClient
from shared.service import create_service, run


class Nowhere:
    """Replaces the outbox."""

    def add(self, session: Session, event: Event) -> None:
        """Discard the event."""


def create_app(settings: Settings) -> Starlette:
    database = Database(settings.database_url, settings.database_pool)
    database.session_info[OUTBOX] = Nowhere()
    return create_service(
        settings,
        [replace(one, recorded=False) for one in OPERATIONS if one.handler is orders.place_order],
        client=HttpClient(),
        database=database,
        idempotency=IDEMPOTENCY,
    )


if __name__ == "__main__":
    run(Settings, create_app)
