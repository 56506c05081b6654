"""Quota: reserved before the first byte arrives, and released when it is no longer needed.

Every change of a blob's state and of its owner's usage is made here, in one transaction, so that the two
always agree.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlmodel import Session

from services.files.errors import QuotaExceeded, UploadAbandoned
from services.files.models import BLOBS, USAGE, Blob, BlobState
from services.files.settings import Settings
from shared.data.database import insert_into


@dataclass(frozen=True, slots=True)
class Quota:
    """The quota of an account."""

    bytes: int
    files: int

    @classmethod
    def of(cls, settings: Settings) -> "Quota":
        return cls(settings.quota_bytes, settings.quota_files)


def new_key() -> str:
    """Return a random key that cannot be guessed."""
    return secrets.token_hex(16)


def reserve(session: Session, user_id: str, size: int, quota: Quota, until: datetime, key: str) -> None:
    """Reserve quota for the blob with this key, or refuse with the figures."""
    blob = Blob(key=key, user_id=user_id, reserved=size, until=until)
    known = insert_into(session, USAGE).values(user_id=user_id, used=0, reserved=0, files=0)
    session.connection().execute(known.on_conflict_do_nothing())
    taking = (
        update(USAGE)
        .where(
            USAGE.c.user_id == user_id,
            USAGE.c.used + USAGE.c.reserved + size <= quota.bytes,
            USAGE.c.files < quota.files,
        )
        .values(reserved=USAGE.c.reserved + size, files=USAGE.c.files + 1)
    )
    if session.connection().execute(taking).rowcount == 0:
        raise _refusal(session, user_id, size, quota)
    session.add(blob)
    session.flush()


def extend(session: Session, key: str, until: datetime) -> None:
    """Extend the reservation."""
    changed = update(BLOBS).where(BLOBS.c.key == key, BLOBS.c.state == BlobState.ARRIVING).values(until=until)
    session.connection().execute(changed)


def settle(session: Session, key: str, size: int) -> None:
    """Turn a reservation into usage, because the blob now belongs to a file."""
    settling = (
        update(BLOBS)
        .where(BLOBS.c.key == key, BLOBS.c.state == BlobState.ARRIVING)
        .values(state=BlobState.KEPT, until=None)
        .returning(BLOBS.c.user_id, BLOBS.c.reserved)
    )
    blob = session.connection().execute(settling).one_or_none()
    if blob is None or not _book(session, blob.user_id, used=size, reserved=-blob.reserved, files=0):
        raise UploadAbandoned


def release(session: Session, key: str) -> bool:
    """Give up an upload, so that its bytes are removed; return False if it was ended or completed before."""
    releasing = (
        update(BLOBS)
        .where(BLOBS.c.key == key, BLOBS.c.state == BlobState.ARRIVING)
        .values(state=BlobState.DOOMED, until=None)
        .returning(BLOBS.c.user_id, BLOBS.c.reserved)
    )
    blob = session.connection().execute(releasing).one_or_none()
    if blob is None:
        return False
    _book(session, blob.user_id, used=0, reserved=-blob.reserved, files=-1)
    return True


def forget(session: Session, key: str, size: int) -> None:
    """Release a blob without a file: its bytes will be removed."""
    forgetting = (
        update(BLOBS)
        .where(BLOBS.c.key == key, BLOBS.c.state == BlobState.KEPT)
        .values(state=BlobState.DOOMED)
        .returning(BLOBS.c.user_id)
    )
    blob = session.connection().execute(forgetting).one()
    _book(session, blob.user_id, used=-size, reserved=0, files=-1)


def _book(session: Session, user_id: str, *, used: int, reserved: int, files: int) -> bool:
    """Add to the usage of an account; return False if the account was deleted meanwhile."""
    booking = (
        update(USAGE)
        .where(USAGE.c.user_id == user_id)
        .values(used=USAGE.c.used + used, reserved=USAGE.c.reserved + reserved, files=USAGE.c.files + files)
    )
    return session.connection().execute(booking).rowcount == 1


def _refusal(session: Session, user_id: str, size: int, quota: Quota) -> QuotaExceeded:
    row = session.connection().execute(select(USAGE).where(USAGE.c.user_id == user_id)).one()
    if row.files >= quota.files:
        return QuotaExceeded(
            f"You have {row.files} of {quota.files} files. Delete some, and empty the trash.",
            files=row.files,
            files_limit=quota.files,
        )
    left = max(0, quota.bytes - row.used - row.reserved)
    return QuotaExceeded(
        f"This needs {size} bytes, and you have {left} left. Delete files, and empty the trash.",
        used=row.used,
        reserved=row.reserved,
        limit=quota.bytes,
        needed=size,
    )
