"""Scans new content with ClamAV before it is served, if a daemon is configured.

A file is stored as `scanning` and becomes `ready` or `infected`. The pending ones are in the table, so none
is lost when a process dies. Several replicas may scan the same file, with the same result.
"""

from collections.abc import Iterator
from datetime import timedelta

import structlog
from sqlalchemy import select, update

from services.files.events import tell_changed
from services.files.models import FILES, File, FileState
from services.files.scanning.clamd import NotScannable, scan
from services.files.settings import Settings
from services.files.storage.blob_store import Blobs
from services.files.storage.store import BlobMissing
from shared.data.database import Database
from shared.work.duties import Duty, IsStopping

log = structlog.get_logger(__name__)

BATCH = 20
PIECE_BYTES = 256 * 1024
LOOK_SECONDS = 1.0
RETRY_MAX = timedelta(seconds=10)  # while the daemon is unreachable


class Stopped(Exception):
    """The service is stopping; the file is scanned after the next start."""


class Scanner:
    """Scans pending files, oldest first, until the service stops."""

    def __init__(self, database: Database, blobs: Blobs, settings: Settings) -> None:
        self._database, self._store = database, blobs.store
        self._address = settings.clamav_address
        self._not_scannable: set[str] = set()  # retried after the next start
        # On every replica: a lease would cost two writes a second.
        scan = Duty("scan", LOOK_SECONDS, self.scan_all, retry_max=RETRY_MAX)
        self.duties = [scan] if self._address else []

    def scan_all(self, is_stopping: IsStopping) -> None:
        """Scan until no file is pending. An unreachable daemon is a failure, retried after a pause."""
        while not is_stopping() and self._scan_some(is_stopping):
            pass

    def _scan_some(self, is_stopping: IsStopping) -> bool:
        waiting = select(FILES.c.id, FILES.c.blob_key, FILES.c.size).where(
            FILES.c.state == FileState.SCANNING, FILES.c.id.not_in(self._not_scannable)
        )
        with self._database.transaction(write=False) as session:
            rows = session.connection().execute(waiting.order_by(FILES.c.id).limit(BATCH)).all()
        for row in rows:
            if is_stopping():
                return False
            try:
                found = scan(self._address, self._pieces(row.blob_key, row.size, is_stopping))
            except Stopped:
                return False
            except BlobMissing:
                self._write_down(row.id, FileState.LOST, None)
            except NotScannable as error:
                log.error("not_scannable", file_id=row.id, error=str(error))  # noqa: TRY400 - the message is enough
                self._not_scannable.add(row.id)
            else:
                self._write_down(row.id, FileState.INFECTED if found else FileState.READY, found)
        return len(rows) == BATCH

    def _pieces(self, key: str, size: int, is_stopping: IsStopping) -> Iterator[bytes]:
        reader = self._store.open(key, 0, size)
        try:
            while piece := reader.read(PIECE_BYTES):
                if is_stopping():  # a large file may take longer than the drain time
                    raise Stopped
                yield piece
        finally:
            reader.close()

    def _write_down(self, file_id: str, state: FileState, found: str | None) -> None:
        if found:
            log.warning("infected", file_id=file_id, found=found)
        with self._database.transaction() as session:
            marking = update(FILES).where(FILES.c.id == file_id, FILES.c.state == FileState.SCANNING)
            if session.connection().execute(marking.values(state=state, threat=found)).rowcount:
                file = session.get(File, file_id)
                assert file is not None
                tell_changed(session, file)
