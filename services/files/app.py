"""Wiring of the files service."""

from pathlib import Path
from tempfile import TemporaryFile

from starlette.applications import Starlette

from contracts.events import SUBSCRIBERS
from services.files.events import CONSUMES
from services.files.models import EVENTS, WORK
from services.files.routes import OPERATIONS
from services.files.scanning.scanner import Scanner
from services.files.settings import Settings
from services.files.storage.blob_store import Blobs, make_store
from services.files.storage.staging import FULL, Staging
from services.files.sweeper import Sweeper
from services.files.uploads.intake import Intake
from services.files.uploads.resumable import Resumable
from shared.data.database import Database
from shared.events import Events
from shared.peers.client import HttpClient
from shared.process.disk import Disk
from shared.process.settings import SettingsFaults
from shared.service import create_service
from shared.work.duties import Duties


def create_app(settings: Settings) -> Starlette:
    assert settings.storage_path is not None  # never None: the settings fill in a default
    _require_place(settings.storage_path)
    database = Database(settings.database_url, settings.database_pool)
    blobs = Blobs(make_store(settings), Staging(settings.storage_path / "staging"))
    sweeper = Sweeper(database, blobs, settings)
    scanner = Scanner(database, blobs, settings)
    disk = Disk("files", settings.storage_path, settings.disk_reserve)
    intake = Intake(database, blobs, settings, disk)
    return create_service(
        settings,
        OPERATIONS,
        client=HttpClient(),
        database=database,
        events=Events(EVENTS, CONSUMES, SUBSCRIBERS),
        disks=[disk],
        provide={Blobs: blobs, Intake: intake, Resumable: Resumable(database, intake, settings)},
        beside=[Duties(database, [*sweeper.duties, *scanner.duties], WORK)],
        on_stop=[blobs.close],
    )


def _require_place(folder: Path) -> None:
    """Check at startup, rather than at the first upload, that the directory is writable."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with TemporaryFile(dir=folder):
            return
    except OSError as error:
        if error.errno in FULL:  # stored files can still be downloaded and deleted
            return
        fault = f"STORAGE_PATH: cannot write to {folder} ({error.strerror}); set it to a writable directory"
        raise SettingsFaults([fault], Settings.service) from error
