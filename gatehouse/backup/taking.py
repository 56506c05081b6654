"""Takes a backup while the suite runs."""

import fcntl
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatehouse.backup import NotDone, databases, parts, sealing
from gatehouse.backup.archive import Writer, written
from gatehouse.backup.cut import snapshots
from gatehouse.backup.parts import Part
from shared import __version__
from shared.clock import now, timestamp
from shared.ids import new_id
from shared.process.hold import HOLD_FILE, REFRESH_SECONDS, hold

SECRETS = "secrets.sealed"
ROUTES = "routes.yaml"
FOLDERS = "folders"
_WORK = ".gatehouse-backup.work"
_LOCK = ".gatehouse-backup.lock"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Taken:
    """A finished backup."""

    path: Path
    size: int
    seconds: float


def take(
    root: Path,
    folder: Path,
    *,
    chosen: Collection[str],
    passphrase: str | None,
    routes: Path,
    say: Say,
) -> Taken:
    """Write a backup into the folder. Without a passphrase it contains no secrets."""
    began = time.monotonic()
    os.nice(10)  # requests go first
    wanted = parts.of_suite(root, chosen)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"gatehouse-{now():%Y-%m-%dT%H-%M-%SZ}.tar"
    with _alone(folder) as work, _held(wanted):
        backup_id, secrets = new_id(), parts.secrets(root)
        moment, services = _copy_databases(wanted, work, say)
        manifest = {
            "id": backup_id,
            "created": moment,
            "version": __version__,
            "services": services,
            "folders": sorted(name for part in wanted for name in part.folders),
            "elsewhere": [part.elsewhere for part in wanted if part.elsewhere],
            "secrets": parts.fingerprints(backup_id, secrets["variables"]),
        }
        with written(path, manifest) as archive:
            if passphrase:
                archive.add_bytes(SECRETS, sealing.seal(passphrase, backup_id, secrets))
            if routes.exists():
                archive.add_file(ROUTES, routes)
            for about in services.values():
                archive.add_file(about["member"], work / Path(about["member"]).name)
            for part in wanted:
                for name, place in part.folders.items():
                    _add_folder(archive, name, place, say)
            size = archive.finish()
    return Taken(path, size, time.monotonic() - began)


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


def _add_folder(archive: Writer, name: str, folder: Path, say: Say) -> None:
    files = total = skipped = 0
    for relative, entry in parts.walk(folder):
        member = f"{FOLDERS}/{name}/{relative}"
        if entry.name == HOLD_FILE:
            continue
        try:
            if entry.is_symlink():
                archive.add_link(member, str(Path(entry.path).readlink()))
            elif entry.is_dir():
                archive.add_folder(member, entry.stat().st_mode & 0o777)
            elif entry.is_file():
                total += _add_file(archive, member, entry.path)
                files += 1
            else:
                skipped += 1  # sockets, pipes and devices
        except FileNotFoundError:  # removed meanwhile
            continue
        if files and files % 10_000 == 0:
            say(f"{name}: {files:,} files, {total / 1e6:,.0f} MB so far")
    more = f"; {skipped} sockets and pipes left out" if skipped else ""
    say(f"{name}: {files:,} files, {total / 1e6:,.1f} MB{more}")


def _add_file(archive: Writer, member: str, path: str) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode):  # not replaced by something else meanwhile
            mode, modified = found.st_mode & 0o777, found.st_mtime
            archive.add(member, file, found.st_size, mode=mode, modified=modified)
        return found.st_size


@contextmanager
def _alone(folder: Path) -> Iterator[Path]:
    """Yield a new folder for drafts. Whoever holds the lock may remove what killed backups left."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotDone(f"another backup into {folder} is running; no second one was begun") from None
        work = folder / _WORK
        _clear(folder, work)
        work.mkdir(mode=0o700)
        try:
            yield work
        finally:
            _clear(folder, work)


def _clear(folder: Path, work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    for part in folder.glob("gatehouse-*.tar.part"):
        part.unlink(missing_ok=True)


@contextmanager
def _held(wanted: list[Part]) -> Iterator[None]:
    """Let no service remove stored content until it is copied: it may belong to rows of the snapshot."""
    folders = [folder for part in wanted for folder in part.folders.values() if folder.is_dir()]
    ended = threading.Event()

    def refresh() -> None:
        while not ended.wait(REFRESH_SECONDS):
            for folder in folders:
                hold(folder)

    for folder in folders:
        hold(folder)
    refreshing = threading.Thread(target=refresh, daemon=True)
    refreshing.start()
    try:
        yield
    finally:
        ended.set()
        refreshing.join()
        for folder in folders:
            (folder / HOLD_FILE).unlink(missing_ok=True)
