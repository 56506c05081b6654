"""Checkpoints: signed states of the log. Anyone who keeps one notices a change of older records."""

import base64
import os
import re
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import func, select
from sqlmodel import Session

from services.audit.errors import AnchorUnusable
from services.audit.keys import LogKeys
from services.audit.log import size_of, tree_of
from services.audit.models import CHECKPOINTS
from services.audit.proofs import Checkpoint, notes_in
from services.audit.settings import Settings
from services.audit.tree import TILE_HASHES, TileMissing, Tree
from shared.clock import now
from shared.data import write_ahead
from shared.data.database import Database, insert_into

EVERY_RECORDS = TILE_HASHES
AT_ONCE_MAX = 256
TAIL_BYTES = 4096
LAST_NOTES = 16
NOTHING = -1  # the size before the first checkpoint, which may be that of an empty log

_OTHER_KEY = "set KEY_SECRET_PREVIOUS to the previous secret"
_SWALLOWED = "look for a trigger, rule or policy on the table checkpoints"
_ROLLED_BACK = (
    "restore the newer database; or keep the anchor file, set ANCHOR_FILE to a new one and explain why"
)

log = structlog.get_logger(__name__)


class Checkpoints:
    """Signs the log as it grows, and appends every checkpoint to the anchor."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.keys = LogKeys(settings)
        self.database = database
        # A copy that is only read must not sign: it has the key, but not the settings of the log.
        self.is_signing = settings.background == "on"
        self._refused_for: tuple[str, int] | None = None  # why signing has stopped, and at which size
        self._anchor = Anchor(settings.anchor_file, self.keys) if settings.anchor_file else None
        self.remembered: Checkpoint | None = None  # the newest one that this process signed or found
        self.is_swallowed = False  # the database accepted the newest checkpoint, but does not have it
        self._turn = threading.Lock()

    def make(self, *, whole: bool) -> None:
        """Sign at every multiple of 256 records, and with `whole` also at the last record."""
        if not self.is_signing:
            return
        with self._turn:  # otherwise one thread would remember a checkpoint that the other cannot see yet
            try:
                self._make(whole=whole)
            except OSError as error:
                raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> AnchorUnusable:
        reason = "audit_anchor_unusable", NOTHING
        if self._refused_for != reason:
            self._refused_for = reason
            next_step = "check ANCHOR_FILE, its disk and its permissions"
            log.error(reason[0], next_step=next_step, error=repr(error))
        return AnchorUnusable()

    def _make(self, *, whole: bool) -> None:
        with self.database.transaction(write=False) as session:
            done, size = latest_size(session), size_of(session)
            if self.remembered is None and done != NOTHING:
                self.remembered = Checkpoint.of(latest_note(session) or "", self.keys.known)
        # A range, because a damaged tree may claim any size.
        due = range((max(done, 0) // EVERY_RECORDS + 1) * EVERY_RECORDS, size + 1, EVERY_RECORDS)
        for start in range(0, len(due), AT_ONCE_MAX):
            self._sign(due[start : start + AT_ONCE_MAX])
        if whole and size not in due and size != done:
            self._sign([size])
        if self._anchor is not None:
            with self.database.transaction(write=False) as session:
                tree = tree_of(session)
                if self._anchor.is_behind(session) and self._agrees_with_anchor(session, tree):
                    # Otherwise the log would look cut off after a power failure that the anchor survived.
                    write_ahead.flush(self.database)
                    self._anchor.catch_up(session, tree)

    def _sign(self, sizes: Sequence[int]) -> None:
        with self.database.transaction() as session:
            signed = self._signed(session, sizes)
        # After the commit, because a check compares this checkpoint with those that it can read.
        self.remembered = signed or self.remembered

    def _signed(self, session: Session, sizes: Sequence[int]) -> Checkpoint | None:
        """Sign a checkpoint of the log at each of these sizes; return the last one if it was stored."""
        tree = tree_of(session)
        if not self._continues(session, tree):
            return None
        made = now()
        signed = [Checkpoint(size, tree.root(size)) for size in sizes]
        rows = [{"size": one.size, "note": self.note(*one), "created": made} for one in signed]
        # Another replica may have been faster; it signed the same.
        session.connection().execute(insert_into(session, CHECKPOINTS).on_conflict_do_nothing(), rows)
        self.is_swallowed = latest_size(session) < sizes[-1]
        if self.is_swallowed:
            self._refuse(session, "audit_checkpoint_not_stored", _SWALLOWED)
            return None
        return signed[-1]

    def _continues(self, session: Session, tree: Tree) -> bool:
        """Whether the tree begins with the last signed state. A state that contradicts it is never signed.

        A restored older database matches its own checkpoints, and one without checkpoints matches any. The
        anchor detects this, and so does a process that signed a newer checkpoint.
        """
        note = latest_note(session)
        last = Checkpoint.of(note, self.keys.known) if note is not None else None
        if note is not None and last is None:
            return self._refuse(session, "audit_checkpoint_of_another_key", _OTHER_KEY)
        if last is not None and not _leads_to(tree, last):
            return self._refuse(session, "audit_log_changed_behind_our_back", "see GET /audit/verify")
        return self._agrees_with_anchor(session, tree)

    def _agrees_with_anchor(self, session: Session, tree: Tree) -> bool:
        # Read the anchor before the log, because another replica may sign and append more in between.
        anchored = max(filter(None, (self.newest_anchored(), self.remembered)), default=None)
        if anchored is None:
            return True
        if anchored.size > size_of(session):
            return self._refuse(session, "audit_log_rolled_back", _ROLLED_BACK, anchored=anchored.size)
        if not _leads_to(tree, anchored):
            event = "audit_log_is_not_the_anchored_one"
            return self._refuse(session, event, _ROLLED_BACK, anchored=anchored.size)
        return True

    def _refuse(self, session: Session, event: str, next_step: str, **details: Any) -> bool:
        """Log once why signing has stopped."""
        reason = event, latest_size(session)
        if self._refused_for != reason:
            self._refused_for = reason
            log.error(event, next_step=next_step, **details)
        return False

    def note(self, size: int, root: bytes) -> str:
        return self.keys.sign(f"{self.keys.name}\n{size}\n{base64.b64encode(root).decode()}\n")

    def newest_anchored(self) -> Checkpoint | None:
        """Return the last checkpoint in the anchor."""
        return self._anchor.newest() if self._anchor is not None else None

    def anchor_bytes(self) -> int:
        """Return the length of the anchor now."""
        return self._anchor.length() if self._anchor is not None else 0

    def anchored(self, sizes: range, length: int | None = None) -> list[Checkpoint]:
        """Return the checkpoints of these sizes in the anchor, or in its first `length` bytes."""
        return self._anchor.read(sizes, length) if self._anchor is not None else []

    def newest_anchored_of(self, sizes: range) -> Checkpoint | None:
        """Return the newest checkpoint of these sizes in the anchor; each one continues those before it."""
        return self._anchor.newest_of(sizes) if self._anchor is not None and sizes else None


def _leads_to(tree: Tree, checkpoint: Checkpoint) -> bool:
    try:
        return tree.root(checkpoint.size) == checkpoint.root
    except TileMissing:
        return False


class Anchor:
    """An append-only file, best on a disk that the owner of the database cannot write to."""

    def __init__(self, file: Path, keys: LogKeys) -> None:
        self._file, self._keys = file, keys
        self._handed_on = NOTHING

    def is_behind(self, session: Session) -> bool:
        """Whether the anchor's last size differs from the signed size of the log."""
        return self._last_size() != latest_size(session)

    def catch_up(self, session: Session, tree: Tree) -> None:
        """Append the checkpoints of this log that are newer than the last one in the file.

        Others are left out: the key may also have signed a longer copy of the database, whose checkpoint in
        the anchor would make this log look cut off forever.
        """
        newer = select(CHECKPOINTS.c.size, CHECKPOINTS.c.note).order_by(CHECKPOINTS.c.size).limit(AT_ONCE_MAX)
        last = self._last_size()
        while rows := session.connection().execute(newer.where(CHECKPOINTS.c.size > last)).all():
            # Otherwise the owner of the database could push valid ones out of the tail that `newest` reads.
            signed = [row for row in rows if self._is_of(tree, row.size, row.note)]
            if signed:
                self._append("".join(f"{row.note}\n" for row in signed))
                self._handed_on = signed[-1].size
            last = rows[-1].size

    def _is_of(self, tree: Tree, size: int, note: str) -> bool:
        found = Checkpoint.of(note, self._keys.known)
        return found is not None and found.size == size and _leads_to(tree, found)

    def length(self) -> int:
        return self._file.stat().st_size if self._file.exists() else 0

    def read(self, sizes: range, length: int | None) -> list[Checkpoint]:
        """Return the checkpoints of these sizes in the file, or in its beginning of this length."""
        notes = (note for note in self._notes(length) if _size_in(note) in sizes)
        found = (Checkpoint.of(note, self._keys.known) for note in notes)
        return [one for one in found if one is not None]

    def newest_of(self, sizes: range) -> Checkpoint | None:
        """Return its newest checkpoint of these sizes. Only the last ones are verified, which is slow."""
        last = deque((note for note in self._notes() if _size_in(note) in sizes), maxlen=LAST_NOTES)
        return max(filter(None, (Checkpoint.of(note, self._keys.known) for note in last)), default=None)

    def _notes(self, length: int | None = None) -> Iterator[str]:
        """Return the notes in the file, which grows for years: it is read in pieces."""
        length = self.length() if length is None else length
        lines: list[str] = []
        with self._file.open("rb") if length else BytesIO() as opened:
            while opened.tell() < length and (line := opened.readline().decode(errors="replace")):
                if lines and lines[-1].startswith("— ") and not line.startswith("— "):
                    yield from notes_in("".join(lines))
                    lines = []
                lines.append(line)
        yield from notes_in("".join(lines))

    def _last_size(self) -> int:
        # If the last ones were signed by an unknown key, they would be appended again and again.
        newest = self.newest()
        return self._handed_on if newest is None else newest.size

    def newest(self) -> Checkpoint | None:
        """Return the last checkpoint in the file that one of our keys signed."""
        if not self._file.exists():
            return None
        with self._file.open("rb") as opened:
            opened.seek(max(0, opened.seek(0, os.SEEK_END) - TAIL_BYTES))
            # The first note may be cut off; only the last one matters.
            notes = notes_in(opened.read().decode(errors="replace"))
        known = (Checkpoint.of(note, self._keys.known) for note in notes)
        return max(filter(None, known), default=None)

    def _append(self, text: str) -> None:
        with self._file.open("a+b") as opened:
            # A killed process may have left a partial note, which must not merge with the next.
            opened.seek(-min(2, opened.tell()), os.SEEK_END)
            whole = opened.read() in (b"", b"\n\n")
            opened.write(("" if whole else "\n\n").encode() + text.encode())
            opened.flush()
            os.fsync(opened.fileno())


def _size_in(note: str) -> int:
    """Return the size that a note claims, about 100 times faster than verifying its signature."""
    said = note.split("\n")[1]
    return int(said) if re.fullmatch(r"\d{1,19}", said) else NOTHING


def latest_size(session: Session) -> int:
    newest = select(func.coalesce(func.max(CHECKPOINTS.c.size), NOTHING))
    size: int = session.connection().execute(newest).scalar_one()
    return size


def latest_note(session: Session) -> str | None:
    newest = select(CHECKPOINTS.c.note).order_by(CHECKPOINTS.c.size.desc()).limit(1)
    return session.connection().execute(newest).scalar_one_or_none()
