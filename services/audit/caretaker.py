"""What is done for the log while nobody asks: sign it, forget who is to be forgotten, cut what is old."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from services.audit.checkpoints import Checkpoints
from services.audit.erasure import erase_due
from services.audit.retention import cut, prepare_months
from services.audit.settings import Settings
from shared.clock import now
from shared.database import Database
from shared.errors import Problem

TICK_SECONDS = 1.0
ERASE_SECONDS = 10.0
CUT_SECONDS = 3600.0

log = structlog.get_logger(__name__)


class Duty:
    """Something to do again and again."""

    def __init__(self, name: str, seconds: float, work: Callable[[], None]) -> None:
        self._name, self._seconds, self._work = name, seconds, work
        self._due = 0.0

    def do_when_due(self) -> None:
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._seconds
        try:
            self._work()
        except Problem as error:
            log.warning("audit_duty_failed", duty=self._name, error=repr(error))
        except Exception:
            # Whatever it was: without this thread nobody would sign the log any more.
            log.exception("audit_duty_failed", duty=self._name)


class Caretaker:
    """A thread of its own, so that neither records nor requests wait for it."""

    def __init__(self, settings: Settings, database: Database, checkpoints: Checkpoints) -> None:
        self._settings, self._database, self._checkpoints = settings, database, checkpoints
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="caretaker of the log", daemon=True)
        self._duties = [
            Duty("sign", TICK_SECONDS, lambda: checkpoints.make(whole=False)),
            Duty("sign the rest", settings.checkpoint_seconds, lambda: checkpoints.make(whole=True)),
            Duty("erase", ERASE_SECONDS, lambda: erase_due(database)),
            Duty("cut", CUT_SECONDS, self._cut),
        ]

    def start(self) -> None:
        with self._database.transaction() as session:
            prepare_months(session, now())
        self._checkpoints.make(whole=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if not self._thread.is_alive():
            return
        self._thread.join()
        with suppress(Problem):  # the next start signs it
            self._checkpoints.make(whole=True)

    def _run(self) -> None:
        while not self._stopping.wait(min(TICK_SECONDS, self._settings.checkpoint_seconds)):
            for duty in self._duties:
                duty.do_when_due()

    def _cut(self) -> None:
        moment = now()
        with self._database.transaction() as session:
            prepare_months(session, moment)
        cut(self._database, moment, self._settings.retention_months)
