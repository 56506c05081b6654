"""Whole folders: listing, measuring, copying and removing them, with a bounded number of open descriptors."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

from services.terminal.errors import HomeFull, TooManyEntries
from services.terminal.workspace.paths import DEPTH_MAX, Parts
from services.terminal.workspace.tree import FOLDER_MODE, Entry, Tree, entry_of, new_name

COPY_BYTES = 1 << 20
PATH_CHARACTERS_MAX = 8 << 20  # of all paths in one list or archive, which are kept in memory
DEFERRED_MAX = 64  # folders too deep for one pass; more of them count as a full workspace
READ_AND_SEARCH = 0o500
BLOCK_BYTES = 512  # the unit of st_blocks
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def names_in(folder: int, *, hidden: bool) -> list[str]:
    return sorted(name for name in os.listdir(folder) if hidden or not name.startswith("."))


def list_folder(
    tree: Tree, parts: Parts, after: str | None, limit: int, *, hidden: bool
) -> tuple[list[Entry], str | None]:
    """Return one page of a folder by name, and the name that the next page starts after."""
    entries: list[Entry] = []
    with tree.folder(parts) as folder:
        names = [name for name in names_in(folder, hidden=hidden) if after is None or name > after]
        for name in names[:limit]:
            with suppress(FileNotFoundError):  # removed meanwhile
                entries.append(entry_of(folder, name, parts))
    return entries, names[limit - 1] if len(names) > limit else None


def list_all(tree: Tree, parts: Parts, most: int, *, hidden: bool) -> tuple[list[Entry], bool]:
    """Return everything below a folder, and whether it was cut off."""
    entries: list[Entry] = []
    characters = 0
    with tree.folder(parts) as folder:
        for above, parent, name in walk(folder, parts, hidden=hidden):
            characters += sum(map(len, above)) + len(name)
            if len(entries) >= most or characters > PATH_CHARACTERS_MAX:
                return entries, True
            with suppress(FileNotFoundError):
                entries.append(entry_of(parent, name, above))
    return entries, False


def walk(folder: int, above: Parts, *, hidden: bool, depth: int = 0) -> Iterator[tuple[Parts, int, str]]:
    """Yield everything below an open folder, folders before their content; links are not followed."""
    for name in names_in(folder, hidden=hidden):
        yield above, folder, name
        if depth < DEPTH_MAX and (below := _opened(folder, name)) is not None:
            try:
                yield from walk(below, (*above, name), hidden=hidden, depth=depth + 1)
            finally:
                os.close(below)


def _opened(parent: int, name: str) -> int | None:
    """Open a subfolder; None if it is something else, vanished or unreadable."""
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.ENOENT, errno.EACCES):
            return None
        raise


class Usage(NamedTuple):
    """Space on the disk and number of entries."""

    bytes: int
    entries: int


class Meter:
    """Measures folders; every file counts once, however many hard links it has."""

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._seen: set[int] = set()
        self._deferred: list[int] = []
        self.bytes = self.entries = 0

    def add(self, folder: int) -> None:
        """Add everything below an open folder; stops once there are too many entries."""
        self._add(folder, 0)
        while self._deferred:
            deep = self._deferred.pop()
            try:
                self._add(deep, 0)
            finally:
                os.close(deep)

    def _add(self, folder: int, depth: int) -> None:
        with os.scandir(folder) as found:
            for entry in found:
                if self.entries > self._entries_max:
                    return
                with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                    self._count(entry.stat(follow_symlinks=False))
                    if entry.is_dir(follow_symlinks=False):
                        self._below(folder, entry.name, depth)

    def _count(self, found: os.stat_result) -> None:
        self.entries += 1
        if found.st_nlink > 1 and stat.S_ISREG(found.st_mode):
            if found.st_ino in self._seen:
                return
            self._seen.add(found.st_ino)
        self.bytes += found.st_blocks * BLOCK_BYTES

    def _below(self, folder: int, name: str, depth: int) -> None:
        with _made_readable(folder, name):
            below = _opened(folder, name)
            if below is None:
                return
            if depth < DEPTH_MAX:
                self._add(below, depth + 1)
            elif len(self._deferred) >= DEFERRED_MAX:
                self.entries = self._entries_max + 1
            else:
                self._deferred.append(os.dup(below))
            os.close(below)


@contextmanager
def _made_readable(parent: int, name: str) -> Iterator[None]:
    """Let us read a folder of our own user that its owner closed; otherwise `chmod 300` would hide files.

    Shells run as the service's user unless that is root, whom no mode stops.
    """
    if os.getuid() == 0:
        yield
        return
    folder = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        mode = stat.S_IMODE(os.fstat(folder).st_mode)
        is_closed = mode & READ_AND_SEARCH != READ_AND_SEARCH
        if is_closed:  # by descriptor, so that no link can be put in its place
            os.chmod(f"/proc/self/fd/{folder}", mode | READ_AND_SEARCH)
        try:
            yield
        finally:
            if is_closed:
                os.chmod(f"/proc/self/fd/{folder}", mode)
    finally:
        os.close(folder)


@dataclass(slots=True)
class Budget:
    """How much a copy may still write."""

    bytes: int
    entries: int

    def spend(self, size: int, *, entries: int = 1) -> None:
        self.bytes -= size
        self.entries -= entries
        if self.bytes < 0 or self.entries < 0:
            raise HomeFull


def copy(tree: Tree, source: Parts, staging: int, budget: Budget) -> str:
    """Copy a file or folder into an open folder of the area; return its name there."""
    name = new_name()
    with tree.parent(source) as parent:
        try:
            _copy(tree, parent, source[-1], staging, name, budget, 0)
        except BaseException:
            with suppress(FileNotFoundError):
                remove(staging, name)
            raise
    return name


def _copy(tree: Tree, parent: int, name: str, target: int, new: str, budget: Budget, depth: int) -> None:
    found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    budget.spend(found.st_blocks * BLOCK_BYTES)
    if stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(name, dir_fd=parent), new, dir_fd=target)
        os.chown(new, *tree.owner, dir_fd=target, follow_symlinks=False)
    elif stat.S_ISREG(found.st_mode):
        _copy_file(tree, parent, name, target, new, budget)
    elif stat.S_ISDIR(found.st_mode):
        if depth == DEPTH_MAX:
            raise TooManyEntries
        below = os.open(name, _FOLDER, dir_fd=parent)
        try:
            os.mkdir(new, FOLDER_MODE, dir_fd=target)
            made = os.open(new, _FOLDER, dir_fd=target)
            try:
                for one in os.listdir(below):
                    with suppress(FileNotFoundError):
                        _copy(tree, below, one, made, one, budget, depth + 1)
                os.fchmod(made, stat.S_IMODE(found.st_mode) & 0o777)
                os.fchown(made, *tree.owner)
            finally:
                os.close(made)
        finally:
            os.close(below)


def _copy_file(tree: Tree, parent: int, name: str, target: int, new: str, budget: Budget) -> None:
    source = os.open(name, _READ, dir_fd=parent)
    try:
        found = os.fstat(source)
        made = os.open(new, _CREATE, 0o600, dir_fd=target)
        try:
            # Its size says little: holes become real zeros, and a program may append to it without end.
            paid = found.st_blocks * BLOCK_BYTES
            while stat.S_ISREG(found.st_mode) and (piece := os.read(source, COPY_BYTES)):
                paid -= len(piece)
                if paid < 0:
                    budget.spend(-paid, entries=0)
                    paid = 0
                os.write(made, piece)
            os.fchown(made, *tree.owner)
            os.fchmod(made, stat.S_IMODE(found.st_mode) & 0o777)
        finally:
            os.close(made)
    finally:
        os.close(source)


def remove(folder: int, name: str) -> None:
    """Remove a file or folder of any depth from an open folder that shells cannot reach."""
    waiting = [name]
    while waiting:
        _remove(folder, waiting.pop(), folder, waiting, 0)


def _make_removable(name: str, parent: int) -> None:
    """Change the mode of a folder itself: a shell may still be in it and put a link in its place."""
    folder = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{folder}", 0o700)
    finally:
        os.close(folder)


def _remove(parent: int, name: str, top: int, waiting: list[str], depth: int) -> None:
    found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode):
        os.unlink(name, dir_fd=parent)
        return
    if stat.S_IMODE(found.st_mode) & 0o700 != 0o700:
        _make_removable(name, parent)
    if depth == DEPTH_MAX:
        deep = new_name()
        os.rename(name, deep, src_dir_fd=parent, dst_dir_fd=top)
        waiting.append(deep)
        return
    below = os.open(name, _FOLDER, dir_fd=parent)
    try:
        for one in os.listdir(below):
            _remove(below, one, top, waiting, depth + 1)
    finally:
        os.close(below)
    os.rmdir(name, dir_fd=parent)
