"""How the orders service is put together."""

from starlette.applications import Starlette

from services.orders.models import IDEMPOTENCY
from services.orders.routes import OPERATIONS
from services.orders.settings import Settings
from shared.client import HttpClient
from shared.database import Database
from shared.service import create_service


def create_app(settings: Settings) -> Starlette:
    return create_service(
        settings,
        OPERATIONS,
        client=HttpClient(),
        database=Database(settings.database_url, settings.database_pool),
        idempotency=IDEMPOTENCY,
    )
