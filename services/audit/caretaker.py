"""Background work of the log: sign it, erase deleted people, cut off old records."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from services.audit.checkpoints import Checkpoints
from services.audit.erasure import PATIENCE, erase_due
from services.audit.errors import AnchorUnusable
from services.audit.opening import open_new_log, open_older_log
from services.audit.retention import cut, prepare_months
from services.audit.settings import Settings
from services.audit.tree import TileMissing
from shared.clock import now
from shared.data import write_ahead
from shared.data.database import Database
from shared.errors import Problem
from shared.work.duties import FAILURES, SUCCESS

TICK_SECONDS = 1.0
OPEN_SECONDS = 3600.0
ERASE_SECONDS = 10.0
CUT_SECONDS = 3600.0

log = structlog.get_logger(__name__)


class Duty:
    """One periodic duty."""

    def __init__(self, name: str, seconds: float, work: Callable[[], None]) -> None:
        self._name, self._seconds, self._work = name, seconds, work
        self._due = 0.0

    def do_when_due(self) -> None:
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._seconds
        try:
            self._work()
            SUCCESS.labels(self._name).set(time.time())
        except Problem as error:
            FAILURES.labels(self._name).inc()
            log.warning("audit_duty_failed", duty=self._name, error=repr(error))
        except Exception:
            FAILURES.labels(self._name).inc()
            # Catch any error, because the duty would never run again if its thread ended.
            log.exception("audit_duty_failed", duty=self._name)


class Caretaker:
    """Runs in separate threads, so that neither records nor requests wait for it."""

    def __init__(self, settings: Settings, database: Database, checkpoints: Checkpoints) -> None:
        self._settings, self._database, self._checkpoints = settings, database, checkpoints
        self._stopping = threading.Event()
        self._is_clear = False  # an earlier process may have been killed before it had cleared SQLite's log
        # Long erasures and cuts must not delay the signing of new records.
        duties = {
            "signs the log": [
                Duty("sign", TICK_SECONDS, lambda: checkpoints.make(whole=False)),
                Duty("sign the rest", settings.checkpoint_seconds, lambda: checkpoints.make(whole=True)),
            ],
            "clears the log": [
                Duty("open", OPEN_SECONDS, lambda: open_older_log(checkpoints)),
                Duty("erase", ERASE_SECONDS, self._erase),
                Duty("cut", CUT_SECONDS, self._cut),
            ],
        }
        self._threads = [
            threading.Thread(target=self._do, args=(some,), name=name, daemon=True)
            for name, some in duties.items()
        ]

    def start(self) -> None:
        with self._database.transaction() as session:
            prepare_months(session, now())
        try:
            with self._database.transaction() as session:
                open_new_log(session, self._checkpoints.keys)
            self._checkpoints.make(whole=True)
        except (TileMissing, AnchorUnusable) as error:
            # The service must run, so that GET /audit/verify can explain it.
            log.error("audit_log_damaged", next_step="run GET /audit/verify", error=repr(error))  # noqa: TRY400
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        begun = [thread for thread in self._threads if thread.is_alive()]
        for thread in begun:
            thread.join()
        if not begun:
            return
        with suppress(Problem):  # the next start signs it
            self._checkpoints.make(whole=True)

    def _do(self, duties: Sequence[Duty]) -> None:
        while not self._stopping.wait(min(TICK_SECONDS, self._settings.checkpoint_seconds)):
            for duty in duties:
                duty.do_when_due()

    def _erase(self) -> None:
        try:
            erase_due(
                self._database, self._checkpoints.keys, self._stopping.is_set, PATIENCE, self._note_erased
            )
        finally:  # an account that cannot be erased must not keep the data of others in SQLite's log
            self._is_clear = self._is_clear or write_ahead.clear(self._database)

    def _note_erased(self) -> None:
        self._is_clear = False

    def _cut(self) -> None:
        moment = now()
        with self._database.transaction() as session:
            prepare_months(session, moment)
        cut(self._checkpoints, moment, self._settings.retention_months, self._stopping.is_set)
        self._is_clear = False
