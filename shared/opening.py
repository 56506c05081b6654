"""Opening the database at start: wait for the server, migrate, or end with one line that says why not."""

import sys
import time
from typing import NoReturn

import structlog
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from shared.migrate import MigrationFailed, upgrade_apart
from shared.settings import ServiceSettings, mask
from shared.supervision import report_phase, supervised

RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0)
# What a PostgreSQL server answers that will let us in soon. Everything else it says itself (wrong password,
# no such database) does not get better by waiting.
_SOON = ("starting up", "shutting down", "recovery mode", "too many clients", "connection slots")

log = structlog.get_logger(__name__)


def open_database(settings: ServiceSettings) -> None:
    """Bring the database to the newest migration, or end this process with exit code 5."""
    deadline = time.monotonic() + settings.database_wait_seconds
    attempts = 0
    while True:
        try:
            return upgrade_apart(settings.database_url, settings.migrations())
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
        report_phase("waiting for the database at {host}:{port}".format(**_address(settings)))
        time.sleep(RETRY_SECONDS[min(attempts, len(RETRY_SECONDS) - 1)])
        attempts += 1


def _give_up(settings: ServiceSettings, event: str, **more: str) -> NoReturn:
    variable = f"{settings.service.upper()}_DATABASE_URL" if supervised() else "DATABASE_URL"
    remedy = {
        "database_unreachable": f"Start the server, or set {variable} to another.",
        "database_unusable": f"Fix this, or set {variable} to another database.",
        "migration_failed": "The database is as it was before it. Fix the cause, then start again.",
    }
    log.error(event, database=mask(settings.database_url), **_address(settings), **more, remedy=remedy[event])
    sys.exit(5)


def _address(settings: ServiceSettings) -> dict[str, str | int]:
    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite":
        return {}
    return {"host": url.host or "localhost", "port": url.port or 5432}


def _is_unreachable(settings: ServiceSettings, reason: str) -> bool:
    """Whether nobody answered, as opposed to a server that refuses us."""
    if not _address(settings):
        return False
    return "FATAL" not in reason or any(words in reason for words in _SOON)


def _reason(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
