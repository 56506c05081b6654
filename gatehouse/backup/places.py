"""Where backups are kept, and a folder as such a place."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from gatehouse.backup import NotDone
from shared.process.backups import NAME_END, backups_in

_WORK = ".gatehouse-backup.work"
_LOCK = ".gatehouse-backup.lock"


class Kept(NamedTuple):
    """A backup of all services in a place."""

    taken: datetime
    name: str


class Noted(NamedTuple):
    """Where a finished backup is, and what the operator has to know about it."""

    path: str
    warning: str = ""


class Draft(Protocol):
    """A backup that is being written."""

    def write(self, data: bytes, /) -> int: ...
    def finish(self) -> int:
        """Let it appear under its name, complete and durable; return its size."""
        ...

    def abandon(self) -> None:
        """Remove what was written so far."""
        ...


class Openable(Protocol):
    """A backup to read from; its text is where it is."""

    @property
    def name(self) -> str: ...
    def open(self, mode: Any, /) -> Any: ...


class Place(Protocol):
    """A folder or a bucket with backups."""

    def alone(self) -> AbstractContextManager[Path]:
        """Yield a folder for drafts; refuse a second backup while this one runs."""
        ...

    def draft(self, name: str) -> Draft: ...
    def noted(self, name: str, size: int, /) -> Noted:
        """Take note of a finished backup. It is finished even if that fails."""
        ...

    def backups(self) -> list[Kept]:
        """Return the backups of all services, newest first."""
        ...

    def remove(self, name: str) -> str:
        """Remove a backup; return where it was."""
        ...


class Folder:
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def alone(self) -> Iterator[Path]:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with alone_in(self._folder, str(self._folder)) as work:
            for part in self._folder.glob(f"gatehouse-*{NAME_END}.part"):
                part.unlink(missing_ok=True)
            yield work

    def draft(self, name: str) -> Draft:
        return FileDraft(self._folder / name)

    def noted(self, name: str, _size: int, /) -> Noted:
        return Noted(str(self._folder / name))

    def backups(self) -> list[Kept]:
        return [Kept(one.taken, one.name) for one in backups_in(self._folder) if not one.is_receipt]

    def remove(self, name: str) -> str:
        (self._folder / name).unlink()
        return str(self._folder / name)


class FileDraft:
    """A file beside its final name."""

    def __init__(self, path: Path) -> None:
        self._path, self._part = path, path.with_name(f"{path.name}.part")
        self._file = os.fdopen(os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    def write(self, data: bytes, /) -> int:
        return self._file.write(data)

    def finish(self) -> int:
        self._file.flush()
        os.fsync(self._file.fileno())
        size = os.fstat(self._file.fileno()).st_size
        self._file.close()
        self._part.rename(self._path)
        sync(self._path.parent)
        return size

    def abandon(self) -> None:
        with suppress(OSError):  # of a full disk, for example
            self._file.close()
        self._part.unlink(missing_ok=True)


@contextmanager
def alone_in(folder: Path, where: str) -> Iterator[Path]:
    """Yield a new folder for drafts. Whoever holds the lock may remove what killed backups left."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotDone(f"another backup into {where} is running; no second one was begun") from None
        work = folder / _WORK
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(mode=0o700)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def in_order(data_dir: Path, *, restores: bool) -> Iterator[None]:
    """Let no backup and no second restore run beside a restore into the same data folder."""
    if restores:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    elif not data_dir.is_dir():
        yield
        return
    descriptor = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(descriptor, data_dir, restores=restores)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, data_dir: Path, *, restores: bool) -> None:
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if restores else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        other = "a backup or another restore" if restores else "a restore"
        done = "Nothing was changed" if restores else "No backup was made"
        raise NotDone(f"{other} of the data in {data_dir} is running; wait for its end. {done}.") from None


def opened(place: Openable) -> IO[bytes]:
    """Open a backup, or raise NotDone."""
    try:
        found: IO[bytes] = place.open("rb")
    except FileNotFoundError:
        raise NotDone(f"{place}: there is no such file") from None
    except OSError as error:
        raise NotDone(f"{place}: it cannot be read ({error.strerror})") from None
    return found


def sync(folder: Path) -> None:
    """Write a folder's entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
