"""Wiring of the audit service."""

from starlette.applications import Starlette

from contracts.events import SUBSCRIBERS
from services.audit.caretaker import Caretaker
from services.audit.checkpoints import Checkpoints
from services.audit.events import CONSUMES
from services.audit.keys import LogKeys
from services.audit.models import EVENTS
from services.audit.routes import OPERATIONS
from services.audit.settings import Settings
from shared.data.database import Database
from shared.events import Events
from shared.peers.client import HttpClient
from shared.service import create_service


def create_app(settings: Settings) -> Starlette:
    database = Database(settings.database_url, settings.database_pool)
    checkpoints = Checkpoints(settings, database)
    caretaker = Caretaker(settings, database, checkpoints)
    return create_service(
        settings,
        OPERATIONS,
        client=HttpClient(),
        database=database,
        provide={Checkpoints: checkpoints, LogKeys: checkpoints.keys},
        events=Events(EVENTS, CONSUMES, SUBSCRIBERS),
        on_start=[caretaker.start] if checkpoints.is_signing else [],
        on_stop=[caretaker.stop],
    )
