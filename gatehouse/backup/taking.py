"""Takes a backup while the suite runs."""

import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatehouse.backup import NotDone, databases, parts, sealing
from gatehouse.backup.archive import Writer, written
from gatehouse.backup.cut import snapshots
from gatehouse.backup.parts import Part
from gatehouse.backup.places import Draft, Place, in_order
from shared import __version__
from shared.clock import now, timestamp
from shared.ids import new_id
from shared.process.backups import NAME_END
from shared.process.stored import REFRESH_SECONDS, Hold, StoredBucket, StoredFolder

if TYPE_CHECKING:
    from gatehouse.backup.contents import BucketContent, BucketHold

SECRETS = "secrets.sealed"
ROUTES = "routes.yaml"
FOLDERS = "folders"
HOLLOW_BYTES_MAX = 64 << 20  # how far the size of a sparse file may exceed what it occupies

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Taken:
    """A finished backup."""

    path: str
    size: int
    seconds: float
    warning: str


@dataclass(frozen=True, slots=True)
class Wish:
    """What the operator wants of a backup."""

    chosen: Collection[str]
    passphrase: str | None  # without one it contains no secrets
    routes: Path
    with_buckets: bool = True


def take(root: Path, place: Place, wish: Wish, say: Say) -> Taken:
    """Write a backup to the place."""
    began = time.monotonic()
    os.nice(10)  # requests go first
    wanted = parts.of_suite(root, wish.chosen)
    # so that retention does not count a backup of some services as a full one
    services_named = "".join(f"{name}-" for name in sorted(set(wish.chosen)))
    name = f"gatehouse-{services_named}{now():%Y-%m-%dT%H-%M-%SZ}{NAME_END}"
    with (
        _writing(),
        in_order(parts.data_dir(root), restores=False),
        place.alone() as work,
        _held(wanted, with_buckets=wish.with_buckets),
    ):
        size = _write(root, place.draft, name, work, wanted, wish, say)
    noted = place.noted(name, size)
    return Taken(noted.path, size, time.monotonic() - began, noted.warning)


@contextmanager
def _writing() -> Iterator[None]:
    """Turn the failure of a disk into a sentence."""
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise NotDone(f"the backup cannot be written: {reason}; nothing is left of it") from None


def _write(
    root: Path,
    draft: Callable[[str], Draft],
    name: str,
    work: Path,
    wanted: list[Part],
    wish: Wish,
    say: Say,
) -> int:
    """Write the archive; return its size."""
    backup_id, secrets = new_id(), parts.secrets(root)
    moment, services = _copy_databases(wanted, work, say)
    buckets = [stored for part in wanted for stored in part.buckets]
    manifest = {
        "id": backup_id,
        "created": moment,
        "version": __version__,
        "services": services,
        "folders": sorted(stored.name for part in wanted for stored in part.folders),
        "buckets": sorted(stored.name for stored in buckets if wish.with_buckets),
        "elsewhere": [f"the objects of {one.place}" for one in buckets if not wish.with_buckets],
        "secrets": {part.name: part.fingerprint(backup_id) for part in wanted},
    }
    with written(draft(name), manifest) as archive:
        if wish.passphrase:
            archive.add_bytes(SECRETS, sealing.seal(wish.passphrase, backup_id, secrets))
        if wish.routes.exists():
            archive.add_file(ROUTES, wish.routes)
        for about in services.values():
            archive.add_file(about["member"], work / Path(about["member"]).name)
        for part in wanted:
            for stored in part.folders:
                say(FolderCopy(archive, stored, say).copy())
            for bucket in part.buckets if wish.with_buckets else ():
                say(_content(bucket).copy(archive, FOLDERS, say))
        return archive.finish()


def _copy_databases(wanted: list[Part], work: Path, say: Say) -> tuple[str, dict[str, dict[str, Any]]]:
    """Copy all databases as of one moment; return that moment, and what is in them."""
    found: dict[str, dict[str, Any]] = {}
    with snapshots({part.name: part.url for part in wanted}) as opened:
        moment = timestamp()
        for name, snapshot in opened.items():
            member = databases.MEMBERS[snapshot.kind].format(name)
            about = databases.copy(snapshot, work / Path(member).name)
            found[name] = {**about, "member": member}
            snapshot.close()  # so that its log can be truncated
            say(f"{name}: {sum(about['rows'].values()):,} rows")
    return moment, found


class FolderCopy:
    """Adds one folder to the archive.

    What people made in their homes must not stop a backup: files that cannot be read, sockets, and files that
    claim to be large but hold nothing are left out and counted.
    """

    def __init__(self, archive: Writer, stored: StoredFolder, say: Say) -> None:
        self._archive, self._stored, self._say = archive, stored, say
        self._files = self._bytes = self._left_out = 0

    def copy(self) -> str:
        """Copy everything; return a line about it."""
        for relative, entry in parts.walk(self._stored.path, self._refused):
            self._add(f"{FOLDERS}/{self._stored.name}/{relative}", entry)
            if self._files and self._files % 10_000 == 0:
                self._say(f"{self._line()} so far")
        return self._line()

    def _line(self) -> str:
        more = f"; {self._left_out:,} that cannot be copied left out" if self._left_out else ""
        return f"{self._stored.name}: {self._files:,} files, {self._bytes / 1e6:,.1f} MB{more}"

    def _refused(self, error: OSError) -> None:
        if not self._stored.is_of_people:
            raise NotDone(f"{error.filename}: {error.strerror}; no backup was made") from error
        self._left_out += 1

    def _add(self, member: str, entry: os.DirEntry[str]) -> None:
        try:
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                self._archive.add_link(member, str(Path(entry.path).readlink()), found)
            elif stat.S_ISDIR(found.st_mode):
                self._archive.add_folder(member, found)
            elif stat.S_ISREG(found.st_mode):
                file = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                self._add_file(member, file)
            else:
                self._left_out += 1  # sockets, pipes and devices
        except FileNotFoundError:  # removed meanwhile
            return
        except OSError as error:
            self._refused(error)

    def _add_file(self, member: str, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            is_hollow = found.st_size > found.st_blocks * 512 + HOLLOW_BYTES_MAX
            if not stat.S_ISREG(found.st_mode) or (is_hollow and self._stored.is_of_people):
                self._left_out += 1
                return
            try:
                self._archive.add(member, file, found.st_size, found)
            except OSError as error:  # of the disk to which the backup is written
                raise NotDone(f"the backup cannot be written: {error.strerror}") from error
        self._files, self._bytes = self._files + 1, self._bytes + found.st_size


def _content(bucket: StoredBucket) -> "BucketContent":
    from gatehouse.backup.contents import BucketContent  # imported late: boto3 is large

    return BucketContent(bucket)


@contextmanager
def _held(wanted: list[Part], *, with_buckets: bool) -> Iterator[None]:
    """Let no service remove stored content until it is copied: it may belong to rows of the snapshot."""
    folders = [stored.path for part in wanted for stored in part.folders if stored.path.is_dir()]
    holds: list[Hold | BucketHold] = [Hold(folder) for folder in folders]
    holds += _holds_of_buckets(wanted) if with_buckets else []
    ended = threading.Event()

    def refresh() -> None:
        while not ended.wait(REFRESH_SECONDS):
            for one in holds:
                one.extend()

    for one in holds:
        one.begin()
    refreshing = threading.Thread(target=refresh, daemon=True)
    refreshing.start()
    try:
        yield
    finally:
        ended.set()
        refreshing.join()
        for one in holds:
            one.end()


def _holds_of_buckets(wanted: list[Part]) -> "list[BucketHold]":
    buckets = [stored for part in wanted for stored in part.buckets]
    if not buckets:
        return []
    from gatehouse.backup.contents import BucketHold

    return [BucketHold(stored) for stored in buckets]
