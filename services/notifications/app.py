"""Assembles the notifications service."""

from starlette.applications import Starlette

from contracts.events import SUBSCRIBERS
from services.notifications.duties import duties
from services.notifications.events import consumes
from services.notifications.feed import listening
from services.notifications.models import EVENTS, IDEMPOTENCY
from services.notifications.routes import OPERATIONS
from services.notifications.settings import Settings
from shared.data.database import Database
from shared.events import Events
from shared.peers.client import HttpClient, Peer
from shared.service import create_service
from shared.work.changes import Changes


def create_app(settings: Settings) -> Starlette:
    database = Database(settings.database_url, settings.database_pool)
    client, changes = HttpClient(), Changes()
    return create_service(
        settings,
        OPERATIONS,
        client=client,
        database=database,
        idempotency=IDEMPOTENCY,
        provide={Changes: changes, Peer: Peer.of(settings, client, name="auth", url=settings.auth_url)},
        events=Events(EVENTS, consumes(changes), SUBSCRIBERS),
        beside=[listening(changes, database), duties(database, settings)],
    )
