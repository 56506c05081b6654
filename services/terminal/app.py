"""Application factory of the terminal service."""

from starlette.applications import Starlette

from contracts.events import SUBSCRIBERS
from services.terminal.access import Door
from services.terminal.backends.base import Backend
from services.terminal.backends.process import ProcessBackend
from services.terminal.boxes import Boxes
from services.terminal.events import CONSUMES
from services.terminal.models import EVENTS
from services.terminal.places import Places
from services.terminal.routes import OPERATIONS, SOCKETS
from services.terminal.settings import Settings
from services.terminal.shares import Guests
from services.terminal.terminals import Terminals
from shared.data.database import Database
from shared.events import Events
from shared.peers.client import HttpClient
from shared.service import create_service
from shared.work.duties import Duties, Duty

SWEEP_SECONDS = 5.0


def create_app(settings: Settings) -> Starlette:
    database = Database(settings.database_url, settings.database_pool)
    backend, places = make_backend(settings), Places(settings)
    terminals = Terminals(database, backend, places, settings)
    boxes = Boxes(database, backend, places, terminals, settings)
    return create_service(
        settings,
        OPERATIONS,
        client=HttpClient(),
        database=database,
        events=Events(EVENTS, CONSUMES, SUBSCRIBERS),
        provide={Boxes: boxes, Terminals: terminals, Door: Door(backend, settings), Guests: Guests()},
        beside=[terminals, boxes, Duties(database, [Duty("sweep", SWEEP_SECONDS, lambda _: boxes.sweep())])],
        sockets=SOCKETS,
    )


def make_backend(settings: Settings) -> Backend:
    if settings.backend == "process":
        return ProcessBackend(settings)
    from services.terminal.backends.docker import DockerBackend  # slow to import

    return DockerBackend(settings)
