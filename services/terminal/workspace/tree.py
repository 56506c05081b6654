"""The files of one workspace: every operation works below its descriptor, never by a path of the system.

The shells of the workspace may rename anything at any time. A path is therefore resolved by the kernel below
the workspace (`beneath.py`), and changes work on the descriptor of a parent folder and one name in it.
"""

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from services.terminal.errors import (
    BadPath,
    Changing,
    Exists,
    IntoItself,
    NotPermitted,
    StorageFull,
    WrongKind,
)
from services.terminal.workspace.beneath import open_beneath, rename_new
from services.terminal.workspace.paths import Parts, composed, joined, shown
from shared.errors import NotFound, Problem, Stale

FOLDER_MODE, FILE_MODE = 0o755, 0o644
TARGET_CHARACTERS_MAX = 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PARENT = os.O_PATH | os.O_DIRECTORY
# Opening a FIFO must not wait for its other end, and a terminal must not become the service's own.
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
_PROBLEMS: dict[int, type[Problem]] = {
    errno.ENOENT: NotFound,
    errno.ELOOP: NotFound,  # a link where none is followed
    errno.EXDEV: NotFound,  # a link that leads out of the workspace
    errno.ENOTDIR: WrongKind,
    errno.EISDIR: WrongKind,
    errno.ENXIO: WrongKind,
    errno.EEXIST: Exists,
    errno.ENOTEMPTY: Exists,
    errno.EACCES: NotPermitted,
    errno.EPERM: NotPermitted,
    errno.ENAMETOOLONG: BadPath,
    errno.EAGAIN: Changing,
    errno.ENOSPC: StorageFull,
    errno.EDQUOT: StorageFull,
}


@contextmanager
def refusals() -> Iterator[None]:
    """Turn failures of the file system into refusals; unknown ones stay errors."""
    try:
        yield
    except OSError as error:
        kind = _PROBLEMS.get(error.errno or 0)
        if kind is None:
            raise
        raise kind from error


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, folder or link as it is listed."""

    path: str
    name: str
    kind: str
    size: int
    modified: float
    etag: str
    mode: str
    target: str | None
    is_exact: bool


class Tree:
    """An open workspace. `area` is the account's folder for unfinished uploads and trash, outside it."""

    def __init__(self, home: Path, area: Path) -> None:
        self.area = area
        with refusals():
            self.fd = os.open(home, _PARENT | os.O_NOFOLLOW | os.O_CLOEXEC)
        found = os.fstat(self.fd)
        self.owner = found.st_uid, found.st_gid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        os.close(self.fd)

    @contextmanager
    def folder(self, parts: Parts) -> Iterator[int]:
        """Open a folder for reading; links below the workspace are followed."""
        with _closing(open_beneath(self.fd, joined(*parts) or ".", _FOLDER, follow=True)) as opened:
            yield opened

    @contextmanager
    def parent(self, parts: Parts) -> Iterator[int]:
        """Open the parent folder of this path in order to change it, without following links."""
        above = joined(*parts[:-1]) or "."
        with _closing(open_beneath(self.fd, above, _PARENT, follow=False)) as opened:
            yield opened

    def stored(self, parts: Parts) -> Parts:
        """Return the path with each name as it was sent, if that exists, else as new files are named.

        Clients on macOS may send decomposed names, even for files that were stored under composed ones.
        """
        found: Parts = ()
        for number, part in enumerate(parts):
            if composed(parts[number:]) == parts[number:]:
                return (*found, *parts[number:])
            try:
                with self.parent((*found, part)) as parent:
                    found = (*found, part if _exists(parent, part) else composed((part,))[0])
            except FileNotFoundError:
                return (*found, *composed(parts[number:]))
        return found

    def open_file(self, parts: Parts) -> tuple[int, os.stat_result]:
        """Open a regular file for reading; the caller closes it."""
        descriptor = open_beneath(self.fd, joined(*self.stored(parts)), _READ, follow=True)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            os.close(descriptor)
            raise WrongKind
        return descriptor, found

    def entry(self, parts: Parts) -> Entry:
        parts = self.stored(parts)
        with self.parent(parts) as parent:
            return entry_of(parent, parts[-1], parts[:-1])

    # Changes.

    def make_folders(self, parts: Parts) -> Parts:
        """Create a folder and the missing ones above it; return the path with its names as stored."""
        made: list[str] = []
        held = os.dup(self.fd)
        try:
            for part in parts:
                name, below = self._enter(held, part)
                os.close(held)
                held = below
                made.append(name)
        finally:
            os.close(held)
        return tuple(made)

    def _enter(self, parent: int, part: str) -> tuple[str, int]:
        """Open a folder in a folder, creating it if it is missing."""
        (name,) = (part,) if _exists(parent, part) else composed((part,))
        with suppress(FileExistsError):
            os.mkdir(name, FOLDER_MODE, dir_fd=parent)
            self._give(parent, name)
        return name, os.open(name, _PARENT | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)

    def _give(self, parent: int, name: str) -> None:
        """Make the owner of the workspace the owner of a new folder."""
        if os.getuid() == 0:
            with _closing(os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)) as made:
                os.fchown(made, *self.owner)

    def make_folder(self, parts: Parts) -> Entry:
        """Create one folder, and the missing ones above it; raises Exists if it is there."""
        above = self.make_folders(parts[:-1])
        with self.parent((*above, parts[-1])) as parent:
            (name,) = composed(parts[-1:])
            os.mkdir(name, FOLDER_MODE, dir_fd=parent)
            self._give(parent, name)
            return entry_of(parent, name, above)

    def place(self, staged: int, name: str, parts: Parts, *, replace: bool, etag: str | None = None) -> Entry:
        """Move a file of the area to a path; with `replace` only over a file, and only one with this etag."""
        parts = self.stored(parts)
        with self.parent(parts) as parent:
            if not replace:
                rename_new(staged, name, parent, parts[-1])
                return entry_of(parent, parts[-1], parts[:-1])
            before = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISREG(before.st_mode):
                raise WrongKind
            if etag is not None:
                require_tag(etag, before)
            os.chmod(name, stat.S_IMODE(before.st_mode) & 0o777, dir_fd=staged)
            os.rename(name, parts[-1], src_dir_fd=staged, dst_dir_fd=parent)
            return entry_of(parent, parts[-1], parts[:-1])

    def move(self, source: Parts, target: Parts) -> Entry:
        """Rename a file or folder; raises Exists if the target is taken."""
        if target[: len(source)] == source:
            raise IntoItself
        above = self.make_folders(target[:-1])
        with self.parent(source) as old, self.parent((*above, target[-1])) as new:
            last = target[-1] if _exists(new, target[-1]) else composed(target)[-1]
            try:
                rename_new(old, source[-1], new, last)
            except OSError as error:
                if error.errno == errno.EINVAL:  # by way of a folder that was renamed meanwhile
                    raise IntoItself from error
                raise
            return entry_of(new, last, above)

    def take_out(self, parts: Parts, folder: int, name: str) -> Entry:
        """Move a file or folder out of the workspace, into a folder of the area."""
        with self.parent(parts) as parent:
            found = entry_of(parent, parts[-1], parts[:-1])
            os.rename(parts[-1], name, src_dir_fd=parent, dst_dir_fd=folder)
            return found

    def put_back(self, folder: int, name: str, parts: Parts) -> Entry:
        """Move a file or folder of the area into the workspace; raises Exists if the path is taken."""
        above = self.make_folders(parts[:-1])
        with self.parent((*above, parts[-1])) as parent:
            rename_new(folder, name, parent, parts[-1])
            return entry_of(parent, parts[-1], above)

    @contextmanager
    def in_area(self, name: str) -> Iterator[int]:
        """Open a folder of the area, creating it if it is missing. Shells cannot reach the area."""
        path = self.area / name
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _closing(os.open(path, _FOLDER)) as opened:
            yield opened


def entry_of(parent: int, name: str, above: Parts) -> Entry:
    """Describe one name in an open folder, without following it."""
    found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    target = None
    if stat.S_ISLNK(found.st_mode):
        target = shown(os.readlink(name, dir_fd=parent))[0][:TARGET_CHARACTERS_MAX]
    path, is_exact = shown(joined(*above, name))
    return Entry(
        path=path,
        name=shown(name)[0],
        kind=kind_of(found.st_mode),
        size=found.st_size if stat.S_ISREG(found.st_mode) else 0,
        modified=found.st_mtime,
        etag=etag_of(found),
        mode=f"{stat.S_IMODE(found.st_mode):04o}",
        target=target,
        is_exact=is_exact,
    )


def kind_of(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    return "link" if stat.S_ISLNK(mode) else "other"


def etag_of(found: os.stat_result) -> str:
    """Return a tag that changes with every write, even one of the same size within the same second."""
    facts = found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    return f'"{hashlib.sha256(repr(facts).encode()).hexdigest()[:32]}"'


def require_tag(header: str, found: os.stat_result) -> None:
    """Raise Stale unless If-Match names the current content."""
    if header.strip() != "*" and etag_of(found) not in {tag.strip() for tag in header.split(",")}:
        raise Stale


def new_name() -> str:
    return secrets.token_hex(16)


def _exists(parent: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)
