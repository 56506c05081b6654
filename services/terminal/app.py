"""Application factory of the terminal service."""

from functools import partial

from starlette.applications import Starlette

from contracts.events import SUBSCRIBERS
from services.terminal.access import Door
from services.terminal.backends.base import Backend
from services.terminal.backends.process import ProcessBackend
from services.terminal.boxes import Boxes
from services.terminal.broker.client import BrokerBackend
from services.terminal.deployments import Deployments
from services.terminal.disk_watch import DiskWatch
from services.terminal.events import CONSUMES
from services.terminal.models import EVENTS
from services.terminal.places import Places
from services.terminal.ports.gate import PortGate
from services.terminal.ports.tunnels import Tunnels
from services.terminal.routes import OPERATIONS, SOCKETS
from services.terminal.settings import Settings
from services.terminal.shares import Guests
from services.terminal.socketio.connections import Connections
from services.terminal.terminals import Terminals
from services.terminal.workspace.trash import TrashCan
from services.terminal.workspace.workspaces import Workspaces
from shared.data.database import Database
from shared.events import Events
from shared.peers.client import HttpClient
from shared.process.disk import Disk
from shared.service import create_service
from shared.work.duties import Duties, Duty

SWEEP_SECONDS, TRASH_SECONDS, LEFTOVERS_SECONDS = 5.0, 60.0, 3600.0


def create_app(settings: Settings) -> Starlette:
    database = Database(settings.database_url, settings.database_pool)
    backend, places = make_backend(settings), Places(settings)
    terminals = Terminals(database, backend, places, settings)
    disk = Disk("workspaces", settings.homes, settings.disk_reserve)
    workspaces = Workspaces(database, places, settings, disk)
    trash = TrashCan(database, workspaces, settings.trash_days)
    tunnels, door = Tunnels(backend), Door(backend, settings)
    boxes = Boxes(database, backend, places, terminals, settings, workspaces.quota, tunnels)
    connections = Connections(database, boxes, terminals, settings)
    deployments = Deployments(database, settings)
    disk_watch = DiskWatch(database, boxes, terminals, workspaces.quota)
    return create_service(
        settings,
        OPERATIONS,
        client=HttpClient(),
        database=database,
        events=Events(EVENTS, CONSUMES, SUBSCRIBERS),
        disks=[disk],
        provide={
            Boxes: boxes,
            Terminals: terminals,
            Door: door,
            Tunnels: tunnels,
            Guests: Guests(),
            Workspaces: workspaces,
            TrashCan: trash,
            Connections: connections,
            Deployments: deployments,
        },
        beside=[
            *(terminals, tunnels, boxes, workspaces, disk_watch, connections, deployments),
            Duties(
                database,
                [
                    Duty("sweep", SWEEP_SECONDS, lambda _: boxes.sweep()),
                    Duty("trash", TRASH_SECONDS, lambda _: trash.sweep()),
                    Duty("leftovers", LEFTOVERS_SECONDS, lambda _: workspaces.remove_leftovers()),
                    Duty("deliveries", LEFTOVERS_SECONDS, lambda _: deployments.forget_old()),
                    Duty("disk", settings.measure_seconds, lambda _: disk_watch.check()),
                ],
            ),
        ],
        sockets=SOCKETS,
        in_front=partial(
            PortGate, database=database, tunnels=tunnels, places=places, door=door, settings=settings
        ),
    )


def make_backend(settings: Settings) -> Backend:
    if settings.backend == "process":
        return ProcessBackend(settings)
    return BrokerBackend(settings)
