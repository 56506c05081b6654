"""How the users service is put together."""

from starlette.applications import Starlette

from services.users.routes import OPERATIONS
from services.users.settings import Settings
from shared.client import HttpClient, Peer
from shared.database import Database
from shared.service import create_service


def create_app(settings: Settings) -> Starlette:
    client = HttpClient()
    return create_service(
        settings,
        OPERATIONS,
        client=client,
        database=Database(settings.database_url, settings.database_pool),
        provide={Peer: Peer.of(settings, client, name="auth", url=settings.auth_url)},
    )
