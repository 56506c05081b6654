"""Checkpoints: what the log signs of itself, so that nobody can change it behind the back of who kept one."""

import base64
import hmac
import os
import re
from collections.abc import Iterator
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr
from sqlalchemy import func, select
from sqlmodel import Session

from services.audit.log import size_of, tree_of
from services.audit.models import CHECKPOINTS
from services.audit.proofs import Checkpoint, Key, notes_in
from services.audit.settings import Settings
from services.audit.tree import TILE_HASHES, TileMissing, Tree
from shared.clock import now
from shared.database import Database, insert_into

EVERY_RECORDS = TILE_HASHES
AT_ONCE_MAX = 256
TAIL_BYTES = 4096
NOTHING = -1  # is signed yet, not even that the log is empty

log = structlog.get_logger(__name__)


class LogKeys:
    """The key that signs, made from KEY_SECRET and kept nowhere; while it is changed, the one before, too.

    `known` are those that have signed something that is still to be checked.
    """

    def __init__(self, settings: Settings) -> None:
        self.name = settings.log_name
        secrets = [settings.key_secret, *filter(None, [settings.key_secret_previous])]
        self._signing = [_signing_key(secret) for secret in secrets]
        self.public = [Key(self.name, key.public_key()) for key in self._signing]
        self.known = [*self.public, *map(Key.parse, settings.old_keys.split())]

    def sign(self, text: str) -> str:
        """The text as a note signed by every key, the newest first."""
        lines = [
            f"— {key.name} {base64.b64encode(key.id + signing.sign(text.encode())).decode()}\n"
            for key, signing in zip(self.public, self._signing, strict=True)
        ]
        return f"{text}\n{''.join(lines)}"


def _signing_key(secret: SecretStr) -> Ed25519PrivateKey:
    seed = hmac.digest(secret.get_secret_value().encode(), b"gatehouse audit log", "sha256")
    return Ed25519PrivateKey.from_private_bytes(seed)


class Checkpoints:
    """Signs the log as it grows, and hands every checkpoint on to the anchor."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.keys = LogKeys(settings)
        self._database = database
        self._told = NOTHING  # at which size it was said that nothing is signed any more
        self._anchor = Anchor(settings.anchor_file, self.keys) if settings.anchor_file else None

    def make(self, *, whole: bool) -> None:
        """Sign at every multiple of 256 records, and with `whole` up to the last record there is."""
        with self._database.transaction(write=False) as session:
            done, size = latest_size(session), size_of(session)
        due = list(range((max(done, 0) // EVERY_RECORDS + 1) * EVERY_RECORDS, size + 1, EVERY_RECORDS))
        if whole and size not in {*due, done}:
            due.append(size)
        for start in range(0, len(due), AT_ONCE_MAX):
            with self._database.transaction() as session:
                self._sign(session, due[start : start + AT_ONCE_MAX])
        if self._anchor is not None:
            self._anchor.catch_up(self._database)

    def _sign(self, session: Session, sizes: list[int]) -> None:
        tree = tree_of(session)
        if not self._continues(session, tree):
            return
        made = now()
        rows = [{"size": size, "note": self.note(size, tree.root(size)), "created": made} for size in sizes]
        # Another replica may have been first; it has signed the same.
        session.connection().execute(insert_into(session, CHECKPOINTS).on_conflict_do_nothing(), rows)

    def _continues(self, session: Session, tree: Tree) -> bool:
        """Whether the tree begins with what was signed last. Nothing is signed that denies it."""
        note = latest_note(session)
        last = Checkpoint.of(note, self.keys.known) if note is not None else None
        if note is None or (last is not None and _leads_to(tree, last)):
            return True
        if self._told != latest_size(session):
            self._told = latest_size(session)
            log.error(
                "audit_log_changed_behind_our_back" if last else "audit_checkpoint_of_another_key",
                next_step="see GET /audit/verify" if last else "set KEY_SECRET_PREVIOUS to the secret before",
            )
        return False

    def note(self, size: int, root: bytes) -> str:
        return self.keys.sign(f"{self.keys.name}\n{size}\n{base64.b64encode(root).decode()}\n")

    def anchored(self, sizes: range) -> list[Checkpoint]:
        """The checkpoints of these sizes that the anchor holds."""
        return self._anchor.read(sizes) if self._anchor is not None else []


def _leads_to(tree: Tree, checkpoint: Checkpoint) -> bool:
    try:
        return tree.root(checkpoint.size) == checkpoint.root
    except TileMissing:
        return False


class Anchor:
    """A file that only grows, best on a disk that the database's owner cannot write to."""

    def __init__(self, file: Path, keys: LogKeys) -> None:
        self._file, self._keys = file, keys
        self._handed_on = NOTHING

    def catch_up(self, database: Database) -> None:
        """Write down the checkpoints that are newer than the last one there."""
        last = self._last_size()
        with database.transaction(write=False) as session:
            newer = select(CHECKPOINTS.c.size, CHECKPOINTS.c.note).where(CHECKPOINTS.c.size > last)
            rows = session.connection().execute(newer.order_by(CHECKPOINTS.c.size).limit(AT_ONCE_MAX)).all()
            if latest_size(session) < last:
                log.error("audit_log_rolled_back", anchored=last, file=str(self._file))
        if rows:
            self._append("".join(f"{row.note}\n" for row in rows))
            self._handed_on = rows[-1].size

    def read(self, sizes: range) -> list[Checkpoint]:
        """Its checkpoints of these sizes. It grows for years, so it is read piece by piece."""
        found = (Checkpoint.of(note, self._keys.known) for note in self._notes() if _size_in(note) in sizes)
        return [one for one in found if one is not None]

    def _notes(self) -> Iterator[str]:
        if not self._file.exists():
            return
        lines: list[str] = []
        with self._file.open(encoding="utf-8", errors="replace") as opened:
            for line in opened:
                if lines and lines[-1].startswith("— ") and not line.startswith("— "):
                    yield from notes_in("".join(lines))
                    lines = []
                lines.append(line)
        yield from notes_in("".join(lines))

    def _last_size(self) -> int:
        if not self._file.exists() or self._file.stat().st_size == 0:
            return NOTHING
        with self._file.open("rb") as opened:
            opened.seek(max(0, self._file.stat().st_size - TAIL_BYTES))
            # The first note may be cut in two; the last one counts.
            notes = notes_in(opened.read().decode(errors="replace"))
        sizes = [one.size for note in notes if (one := Checkpoint.of(note, self._keys.known)) is not None]
        # When the last ones are of a key that is not known, they would be written again and again.
        return max(sizes, default=self._handed_on)

    def _append(self, text: str) -> None:
        with self._file.open("a+b") as opened:
            # A process that was killed may have left half a note behind: it must not run into the next.
            opened.seek(-min(2, opened.tell()), os.SEEK_END)
            whole = opened.read() in (b"", b"\n\n")
            opened.write(("" if whole else "\n\n").encode() + text.encode())
            opened.flush()
            os.fsync(opened.fileno())


def _size_in(note: str) -> int:
    """What a note says before anybody has looked at its signature, which takes a hundred times as long."""
    said = note.split("\n")[1]
    return int(said) if re.fullmatch(r"\d{1,19}", said) else NOTHING


def latest_size(session: Session) -> int:
    newest = select(func.coalesce(func.max(CHECKPOINTS.c.size), NOTHING))
    size: int = session.connection().execute(newest).scalar_one()
    return size


def latest_note(session: Session) -> str | None:
    newest = select(CHECKPOINTS.c.note).order_by(CHECKPOINTS.c.size.desc()).limit(1)
    return session.connection().execute(newest).scalar_one_or_none()
