"""Wiring of the users service."""

from starlette.applications import Starlette

from contracts.events import SUBSCRIBERS
from services.users.dashboard.asking import Dashboard
from services.users.duties import duties
from services.users.events import CONSUMES
from services.users.models import EVENTS, SETTINGS
from services.users.routes import OPERATIONS
from services.users.settings import Settings
from services.users.status.board import StatusBoard
from shared.data.database import Database
from shared.data.sealed import SealedColumn
from shared.events import Events
from shared.peers.client import HttpClient, Peer
from shared.service import create_service


def create_app(settings: Settings) -> Starlette:
    database, client = Database(settings.database_url, settings.database_pool), HttpClient()
    redis_url = None if settings.redis_url is None else settings.redis_url.get_secret_value()
    sealed = SealedColumn(settings.sealer(), SETTINGS.c.sealed)
    return create_service(
        settings,
        OPERATIONS,
        client=client,
        database=database,
        events=Events(EVENTS, CONSUMES, SUBSCRIBERS),
        provide={
            Dashboard: Dashboard(peers_of(settings, client)),
            Peer: Peer.of(settings, client, name="auth", url=settings.auth_url),
            SealedColumn: sealed,
            StatusBoard: StatusBoard(database, redis_url, settings.environment),
        },
        beside=[duties(database, sealed)],
    )


def peers_of(settings: Settings, client: HttpClient) -> dict[str, Peer]:
    """Return the services that the dashboard asks, by section."""
    urls = {
        "orders": ("orders", settings.orders_url),
        "files": ("files", settings.files_url),
        "tickets": ("support", settings.support_url),
        "notifications": ("notifications", settings.notifications_url),
        "inventory": ("inventory", settings.inventory_url),
        "terminal": ("terminal", settings.terminal_url),
        "audit": ("audit", settings.audit_url),
    }
    return {section: Peer.of(settings, client, name=name, url=url) for section, (name, url) in urls.items()}
