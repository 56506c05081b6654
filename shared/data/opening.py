"""Opens the database at startup: waits for the server and migrates, or logs the reason and exits."""

import sys
import time
from pathlib import Path
from typing import NoReturn

import structlog
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from shared.data.migrate import DatabaseTooNew, MigrationFailed, MoveUnfinished, upgrade_apart
from shared.data.postgresql import server_of
from shared.process.settings import ServiceSettings, mask
from shared.process.supervision import report_phase, supervised

RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0)
# Errors of a PostgreSQL server that will soon accept connections. Waiting does not help against others, such
# as a wrong password or a missing database.
_SOON = ("starting up", "shutting down", "recovery mode", "too many clients", "connection slots")

log = structlog.get_logger(__name__)


def open_database(settings: ServiceSettings) -> None:
    """Migrate the database to the newest version, or exit with code 5."""
    _refuse_lost(settings)
    deadline = time.monotonic() + settings.database_wait_seconds
    attempts = 0
    while True:
        try:
            upgrade_apart(settings.database_url, settings.migrations())
        except DatabaseTooNew as error:
            versions = {"database_version": error.database, "program_version": error.program or "none"}
            _give_up(settings, "database_too_new", reason=str(error), **versions)
        except MoveUnfinished as error:
            _give_up(settings, "database_incomplete", reason=str(error))
        except MigrationFailed as error:
            _give_up(settings, "migration_failed", output=str(error))
        except SQLAlchemyError as error:
            reason = _reason(error)
            if not _is_unreachable(settings, reason):
                _give_up(settings, "database_unusable", reason=reason)
            if time.monotonic() >= deadline:
                _give_up(settings, "database_unreachable", reason=reason)
            if attempts == 0:
                seconds = settings.database_wait_seconds
                log.warning(
                    "waiting_for_database", **_address(settings), reason=reason, at_most_seconds=seconds
                )
        else:
            return _remember(settings)
        report_phase("waiting for the database at {host}:{port}".format(**_address(settings)))
        time.sleep(RETRY_SECONDS[min(attempts, len(RETRY_SECONDS) - 1)])
        attempts += 1


def _marker(settings: ServiceSettings) -> Path:
    """Return the path of the marker file, which lists the SQLite files that this service has used."""
    return settings.data_dir / "databases" / settings.service


def _refuse_lost(settings: ServiceSettings) -> None:
    """Exit if the file is missing: SQLite would silently create an empty database in its place."""
    file, marker = settings.sqlite_file(), _marker(settings)
    if file is None or not marker.exists() or str(file) not in marker.read_text().splitlines():
        return
    if not any(part.exists() and part.stat().st_size for part in (file, Path(f"{file}-wal"))):
        _give_up(
            settings, "database_lost", reason=f"{file} held a database before; now it is missing or empty"
        )


def _remember(settings: ServiceSettings) -> None:
    file, marker = settings.sqlite_file(), _marker(settings)
    if file is None or (marker.exists() and str(file) in marker.read_text().splitlines()):
        return
    try:
        marker.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with marker.open("a") as lines:
            lines.write(f"{file}\n")
    except OSError as error:
        log.warning("database_not_remembered", file=str(marker), error=error.strerror)


def _give_up(settings: ServiceSettings, event: str, **more: str) -> NoReturn:
    variable = f"{settings.service.upper()}_DATABASE_URL" if supervised() else "DATABASE_URL"
    remedy = {
        "database_unreachable": f"Start the server, or set {variable} to another one.",
        "database_unusable": f"Fix this, or set {variable} to another database.",
        "database_too_new": "Start the newer program again, or restore a backup from before it ran.",
        "database_incomplete": f"Continue that move, or set {variable} to the former database.",
        "database_lost": f"Restore the file from a backup, or delete {_marker(settings)} to start afresh.",
        "migration_failed": "The failed migration was rolled back. Fix the cause, then start again.",
    }
    log.error(event, database=mask(settings.database_url), **_address(settings), **more, remedy=remedy[event])
    sys.exit(5)


def _address(settings: ServiceSettings) -> dict[str, str | int]:
    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite":
        return {}
    host, port = server_of(url)
    return {"host": host, "port": int(port) if port.isdecimal() else port}


def _is_unreachable(settings: ServiceSettings, reason: str) -> bool:
    """Whether the server is unreachable or still starting, rather than refusing this client."""
    if not _address(settings):
        return False
    return "FATAL" not in reason or any(words in reason for words in _SOON)


def _reason(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
