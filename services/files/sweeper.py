"""Reconciles rows and blobs after crashes and failures.

Every step is idempotent and safe to run on several replicas at once: it checks the state that it changes.
"""

import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import groupby

import structlog
from sqlalchemy import delete, select, update
from sqlmodel import Session

from services.files.models import BLOBS, FILES, UPLOADS, BlobState, File, FileState
from services.files.settings import Settings
from services.files.storage.blob_store import Blobs
from services.files.storage.store import Stored
from services.files.trash import purge
from services.files.uploads import quota
from services.files.uploads.intake import first_state
from shared.clock import now
from shared.data.database import Database
from shared.work.duties import Duty, IsStopping

log = structlog.get_logger(__name__)

BATCH = 200


def _never() -> bool:
    return False


class Sweeper:
    """Two duties of the service, each done by one replica at a time."""

    def __init__(self, database: Database, blobs: Blobs, settings: Settings) -> None:
        self._database = database
        self._store, self._staging = blobs.store, blobs.staging
        self._first_state = first_state(settings)  # restored content may never have been scanned
        self._trash = timedelta(days=settings.trash_days)
        self._orphan_seconds = settings.orphan_seconds
        self.duties = [
            Duty("sweep", settings.sweep_seconds, self.sweep, alone=True),
            Duty("compare", settings.compare_hours * 3600, self.compare, alone=True),
        ]

    def sweep(self, is_stopping: IsStopping = _never) -> None:
        """Release the quota of dead uploads, empty old trash, and remove bytes without a file."""
        for work in (self._abandon, self._empty_trash, self._remove_doomed):
            while work() == BATCH and not is_stopping():
                pass

    def _abandon(self) -> int:
        dead = select(BLOBS.c.key).where(BLOBS.c.state == BlobState.ARRIVING, BLOBS.c.until < now())
        with self._database.transaction() as session:
            keys = session.connection().execute(dead.limit(BATCH)).scalars().all()
            for key in keys:
                if quota.release(session, key):
                    log.info("upload_abandoned", key=key)
            session.connection().execute(delete(UPLOADS).where(UPLOADS.c.expires < now()))
        return len(keys)

    def _empty_trash(self) -> int:
        old = select(FILES.c.id).where(FILES.c.trashed < now() - self._trash).limit(BATCH)
        with self._database.transaction() as session:
            ids = session.connection().execute(old).scalars().all()
            for file_id in ids:
                file = session.get(File, file_id, with_for_update=True)
                if file is not None and file.trashed is not None:
                    purge(session, file)
        return len(ids)

    def _remove_doomed(self) -> int:
        with self._database.transaction(write=False) as session:
            doomed = select(BLOBS.c.key).where(BLOBS.c.state == BlobState.DOOMED).limit(BATCH)
            keys = session.connection().execute(doomed).scalars().all()
        # After the rows are read: a backup that begins later needs only blobs that were doomed since.
        if not keys or self._store.is_held():
            return 0
        for key in keys:
            self._store.delete(key)
            self._staging.discard(key)
        with self._database.transaction() as session:
            # Last, because the row must exist as long as the bytes may exist.
            session.connection().execute(delete(BLOBS).where(BLOBS.c.key.in_(keys)))
        return len(keys)

    def compare(self, is_stopping: IsStopping = _never) -> None:
        """Compare the storage with the rows, in both directions."""
        if self._store.is_held():
            return
        self._clear_staging()
        self._store.clear(self._orphan_seconds)
        for prefix, listed in self._listed():
            if is_stopping():
                return
            # The rows are read after the list, because a row is written before its blob.
            with self._database.transaction(write=False) as session:
                rows = select(BLOBS.c.key, BLOBS.c.state).where(BLOBS.c.key.startswith(prefix))
                states = {row.key: row.state for row in session.connection().execute(rows)}
            for key, found in listed.items():
                if key not in states and found.modified < time.time() - self._orphan_seconds:
                    log.warning("orphan_removed", key=key, size=found.size)
                    self._store.delete(key)
            kept = {key for key, state in states.items() if state == BlobState.KEPT}
            lost = {key for key in kept - listed.keys() if self._store.size(key) is None}
            with self._database.transaction() as session:
                self._mark(session, prefix, lost)

    def _listed(self) -> Iterator[tuple[str, dict[str, Stored]]]:
        """Yield the blobs by key, in batches that fit into memory, including prefixes that have only rows."""
        groups = groupby(self._store.list(), key=lambda one: one.key[:2])
        following, of_rows = next(groups, None), self._next_prefix_of_rows()
        while following is not None or of_rows is not None:
            if following is not None and (of_rows is None or following[0] <= of_rows):
                prefix, listed = following[0], {one.key: one for one in following[1]}
                following = next(groups, None)
            else:
                assert of_rows is not None
                prefix, listed = of_rows, {}
            yield prefix, listed
            of_rows = self._next_prefix_of_rows(after=f"{prefix}g")  # sorts after every hexadecimal digit

    def _next_prefix_of_rows(self, after: str = "") -> str | None:
        with self._database.transaction(write=False) as session:
            first = select(BLOBS.c.key).where(BLOBS.c.key > after).order_by(BLOBS.c.key).limit(1)
            key = session.connection().execute(first).scalar()
        return None if key is None else key[:2]

    def _mark(self, session: Session, prefix: str, lost: set[str]) -> None:
        """Mark files whose content is missing, or was restored from a backup."""
        known = select(FILES.c.blob_key).where(
            FILES.c.blob_key.startswith(prefix), FILES.c.state == FileState.LOST
        )
        before = set(session.connection().execute(known).scalars())
        for keys, was, becomes in (
            (lost - before, FileState.READY, FileState.LOST),
            (before - lost, FileState.LOST, self._first_state),
        ):
            for key in keys:
                log.error("content_missing" if becomes == FileState.LOST else "content_back", key=key)
                marking = update(FILES).where(FILES.c.blob_key == key, FILES.c.state == was)
                session.connection().execute(marking.values(state=becomes))

    def _clear_staging(self) -> None:
        """Remove old staging files without a row."""
        old = [name for name, written in self._staging.list() if written < time.time() - self._orphan_seconds]
        for start in range(0, len(old), BATCH):
            names = old[start : start + BATCH]
            with self._database.transaction(write=False) as session:
                rows = select(BLOBS.c.key).where(BLOBS.c.key.in_(names))
                known = set(session.connection().execute(rows).scalars())
            for name in set(names) - known:
                self._staging.discard(name)
