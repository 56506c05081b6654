"""Wiring of the users service."""

from starlette.applications import Starlette

from contracts.events import SUBSCRIBERS
from services.users.events import CONSUMES
from services.users.models import EVENTS
from services.users.routes import OPERATIONS
from services.users.settings import Settings
from shared.data.database import Database
from shared.events import Events
from shared.peers.client import HttpClient, Peer
from shared.service import create_service


def create_app(settings: Settings) -> Starlette:
    client = HttpClient()
    return create_service(
        settings,
        OPERATIONS,
        client=client,
        database=Database(settings.database_url, settings.database_pool),
        events=Events(EVENTS, CONSUMES, SUBSCRIBERS),
        provide={Peer: Peer.of(settings, client, name="auth", url=settings.auth_url)},
    )
