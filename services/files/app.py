"""How the files service is put together."""

from starlette.applications import Starlette

from contracts.events import SUBSCRIBERS
from services.files.blobs import Blobs, make_store
from services.files.events import CONSUMES
from services.files.intake import Intake
from services.files.models import EVENTS
from services.files.resumable import Resumable
from services.files.routes import OPERATIONS
from services.files.scanner import Scanner
from services.files.settings import Settings
from services.files.staging import Staging
from services.files.sweeper import Sweeper
from shared.client import HttpClient
from shared.database import Database
from shared.events import Events
from shared.service import create_service


def create_app(settings: Settings) -> Starlette:
    assert settings.storage_path is not None  # its default is a folder
    database = Database(settings.database_url, settings.database_pool)
    blobs = Blobs(make_store(settings), Staging(settings.storage_path / "staging"))
    sweeper = Sweeper(database, blobs, settings)
    scanner = Scanner(database, blobs, settings)
    intake = Intake(database, blobs, settings)
    return create_service(
        settings,
        OPERATIONS,
        client=HttpClient(),
        database=database,
        events=Events(EVENTS, CONSUMES, SUBSCRIBERS),
        provide={Blobs: blobs, Intake: intake, Resumable: Resumable(database, intake, settings)},
        on_start=[sweeper.start, scanner.start],
        on_stop=[sweeper.stop, scanner.stop, blobs.close],
    )
