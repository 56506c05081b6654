"""Uploads of whole folders: first a manifest, then the contents in any number of requests, then one finish.

A batch is a folder of the area: the manifest, and each received entry under its number. What was received
survives a crash of the service, and the client asks which numbers are missing. Nothing is in the workspace
before the finish, which may be repeated after a crash as well.
"""

import ctypes
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from services.terminal.errors import Exists, Finishing, Incomplete, TooManyEntries, WrongKind
from services.terminal.workspace.paths import Parts, composed, joined, parts_of
from services.terminal.workspace.tree import FILE_MODE, Tree, new_name
from services.terminal.workspace.walks import remove
from services.terminal.workspace.workspaces import BATCHES as FOLDER
from shared.errors import BadRequest, NotFound
from shared.ids import new_id

MANIFEST, FINISHING = "manifest", "finishing"
BATCHES_MAX = 20  # unfinished ones of an account
CONFLICTS_MAX = 100
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_syncfs = ctypes.CDLL(None, use_errno=True).syncfs


@dataclass(frozen=True, slots=True)
class Batch:
    """An unfinished upload of many files."""

    id: str
    overwrite: bool
    entries: Sequence[tuple[str, int]]  # path and size

    @property
    def bytes(self) -> int:
        return sum(size for _, size in self.entries)


def begin_form(tree: Tree) -> str:
    """Make an empty batch for the files of a form, whose names and sizes are known only at its end."""
    with tree.in_area(FOLDER) as folder:
        return _made(folder)


def describe(tree: Tree, batch_id: str, entries: Sequence[tuple[str, int]], *, overwrite: bool) -> None:
    """Store the manifest of a form's batch; raises Exists unless files may be overwritten.

    What placing would refuse is refused here, before anything is placed. Shells of the workspace can still
    change the targets between this check and the finish, which then ends with some of the files placed.
    """
    paths = [path for path, _ in entries]
    if not overwrite and (conflicts := _conflicts(tree, paths)):
        raise Exists(conflicts=conflicts)
    _require_placeable(tree, paths)
    with tree.in_area(FOLDER) as folder, _opened(folder, batch_id) as inside:
        _write_manifest(inside, entries, overwrite=overwrite)


def begin(tree: Tree, destination: Parts, entries: Sequence[tuple[str, int]], *, overwrite: bool) -> Batch:
    """Store a manifest; raises Exists with the conflicts unless files may be overwritten."""
    paths = [joined(*destination, *parts_of(path, "entries")) for path, _ in entries]
    if not overwrite and (conflicts := _conflicts(tree, paths)):
        raise Exists(conflicts=conflicts)
    with tree.in_area(FOLDER) as folder:
        sized = [(path, size) for path, (_, size) in zip(paths, entries, strict=True)]
        batch = Batch(_made(folder), overwrite, sized)
        with _opened(folder, batch.id) as inside:
            _write_manifest(inside, batch.entries, overwrite=overwrite)
    return batch


def _made(folder: int) -> str:
    if len(os.listdir(folder)) >= BATCHES_MAX:
        raise TooManyEntries(f"You have {BATCHES_MAX} unfinished batches; finish or delete one first.")
    batch_id = new_id()
    os.mkdir(batch_id, 0o700, dir_fd=folder)
    return batch_id


def _write_manifest(inside: int, entries: Sequence[tuple[str, int]], *, overwrite: bool) -> None:
    _write_file(inside, MANIFEST, json.dumps({"overwrite": overwrite, "entries": entries}).encode())


def folders_for(tree: Tree, destination: Parts, entries: Sequence[tuple[str, int]], most: int) -> int:
    """Return how many folders a batch of these entries has to make; see `missing_folders`."""
    paths = (joined(*destination, *parts_of(path, "entries")) for path, _ in entries)
    return missing_folders(tree, paths, most)


def missing_folders(tree: Tree, paths: Iterable[str], most: int) -> int:
    """Return how many folders have to be made for files at these paths.

    Counting stops above `most`, as remembering the folders of long paths takes much memory.
    """
    there, missing = {""}, set[str]()
    for path in paths:
        new, folder = list[str](), path.rpartition("/")[0]
        while folder not in there and folder not in missing:
            new.append(folder)
            folder = folder.rpartition("/")[0]
        for one in reversed(new):
            exists = one.rpartition("/")[0] in there and _is_entry(tree, tuple(one.split("/")))
            (there if exists else missing).add(one)
        if len(missing) > most:
            break
    return len(missing)


def folders_of(tree: Tree, batch_id: str, most: int) -> int:
    """Return how many folders the finish of a batch has to make; see `missing_folders`."""
    return missing_folders(tree, (path for path, _ in load(tree, batch_id).entries), most)


def _is_entry(tree: Tree, parts: Parts) -> bool:
    try:
        tree.entry(parts)
    except FileNotFoundError:
        return False
    return True


def _conflicts(tree: Tree, paths: Sequence[str]) -> list[str]:
    found: list[str] = []
    for path in paths:
        with suppress(FileNotFoundError):
            tree.entry(tuple(path.split("/")))
            found.append(path)
            if len(found) == CONFLICTS_MAX:
                break
    return found


def _require_placeable(tree: Tree, paths: Iterable[str]) -> None:
    """Raise unless each path is free or that of a file, and whatever exists above it is a folder."""
    targets = sorted(composed(tuple(path.split("/"))) for path in paths)
    # What is below a path follows it directly in this order.
    for one, following in pairwise(targets):
        if following[: len(one)] == one:
            raise BadRequest("The form has a file at a path where other files of the form need a folder.")
    for target in targets:
        with suppress(FileNotFoundError):
            if tree.entry(target).kind != "file":
                raise WrongKind


@contextmanager
def opened(tree: Tree, batch_id: str) -> Iterator[tuple[Batch, int]]:
    """Open a batch and its folder; raises NotFound."""
    with tree.in_area(FOLDER) as folder:
        try:
            with _opened(folder, batch_id) as inside:
                yield _read(inside, batch_id), inside
        except FileNotFoundError as error:
            raise NotFound from error


def load(tree: Tree, batch_id: str) -> Batch:
    with opened(tree, batch_id) as (batch, _):
        return batch


def missing(tree: Tree, batch_id: str) -> tuple[Batch, list[tuple[int, int]]]:
    """Return a batch and the ranges of numbers that were not received, both ends included."""
    with opened(tree, batch_id) as (batch, inside):
        return batch, _missing(batch, inside)


def _missing(batch: Batch, inside: int) -> list[tuple[int, int]]:
    names = set(os.listdir(inside))
    spans: list[tuple[int, int]] = []
    for number in range(len(batch.entries)):
        if str(number) in names:
            continue
        if spans and spans[-1][1] == number - 1:
            spans[-1] = spans[-1][0], number
        else:
            spans.append((number, number))
    return spans


class FormWriter:
    """Writes the files of a form into its batch, one after the other."""

    def __init__(self, tree: Tree, batch_id: str) -> None:
        with tree.in_area(FOLDER) as folder:
            self._folder = os.open(batch_id, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
        self._owner = tree.owner
        self._file, self._number = -1, 0
        self.sizes: list[int] = []

    def begin(self) -> None:
        """Begin the next file."""
        self.end()
        self._file = os.open(str(self._number), _CREATE, 0o600, dir_fd=self._folder)
        self._number += 1
        self.sizes.append(0)

    def write(self, piece: bytes) -> None:
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self.sizes[-1] += len(piece)

    def end(self) -> None:
        """Complete the file that is being written, if there is one."""
        file, self._file = self._file, -1
        if file >= 0:
            _complete(file, self._owner)

    def close(self) -> None:
        for descriptor in (self._file, self._folder):
            if descriptor >= 0:
                os.close(descriptor)


def _complete(file: int, owner: tuple[int, int]) -> None:
    """Give a written file to the owner of the workspace, and close it."""
    try:
        os.fchmod(file, FILE_MODE)
        if os.getuid() == 0:
            os.fchown(file, *owner)
    finally:
        os.close(file)


class Writer:
    """Splits one body into the contents of consecutive entries; their sizes are in the manifest."""

    def __init__(self, tree: Tree, batch_id: str, first: int, count: int) -> None:
        with opened(tree, batch_id) as (batch, inside):
            if _exists(inside, FINISHING):
                raise Finishing
            self._folder = os.dup(inside)
        self._sizes = [size for _, size in batch.entries[first : first + count]]
        self._owner = tree.owner
        self._number, self._file, self._left, self._part = first, -1, 0, ""
        self.bytes = sum(self._sizes)
        self._next()

    def write(self, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                if self._file < 0:
                    raise BadRequest("The body is longer than these entries combined.")
                written = os.write(self._file, rest[: self._left])
                rest, self._left = rest[written:], self._left - written
                if self._left == 0:
                    self._complete()
                    self._next()

    def _next(self) -> None:
        """Begin the next entry; empty ones are complete at once."""
        while self._sizes:
            self._left = self._sizes.pop(0)
            self._part = f"{self._number}.{new_name()}.part"  # another request may send the same entry
            self._file = os.open(self._part, _CREATE, 0o600, dir_fd=self._folder)
            if self._left:
                return
            self._complete()

    def _complete(self) -> None:
        file, self._file = self._file, -1
        _complete(file, self._owner)
        os.rename(self._part, str(self._number), src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._number += 1

    def close(self) -> bool:
        """Release the folder; return whether all entries of this request are complete."""
        is_complete = self._file < 0
        if not is_complete:
            os.close(self._file)
            with suppress(FileNotFoundError):
                os.unlink(self._part, dir_fd=self._folder)
        os.close(self._folder)
        return is_complete


def finish(tree: Tree, batch_id: str) -> int:
    """Move everything to its path; return the number of files. It can be repeated after a crash."""
    with opened(tree, batch_id) as (batch, inside):
        if not _exists(inside, FINISHING):
            if spans := _missing(batch, inside):
                raise Incomplete(missing=spans[:CONFLICTS_MAX])
            # The contents are durable before anything appears under its name.
            if _syncfs(inside) < 0:
                raise OSError(ctypes.get_errno(), "the contents could not be made durable")
            _write_file(inside, FINISHING, b"")
        conflicts = [path for path in _placed(tree, batch, inside) if path]
        if conflicts:
            raise Exists(conflicts=conflicts[:CONFLICTS_MAX])
    discard(tree, batch_id)
    return len(batch.entries)


def _placed(tree: Tree, batch: Batch, inside: int) -> Iterator[str]:
    """Place each entry that is still in the batch; yields the paths of those whose place is taken."""
    folders: dict[Parts, Parts] = {}
    left = set(os.listdir(inside))
    for number, (path, _) in enumerate(batch.entries):
        if str(number) not in left:
            continue  # placed before a crash
        *above, last = path.split("/")
        if tuple(above) not in folders:
            folders[tuple(above)] = tree.make_folders(tuple(above))
        parts = (*folders[tuple(above)], last)
        try:
            tree.place(inside, str(number), parts, replace=False)
        except FileExistsError:
            if batch.overwrite:
                tree.place(inside, str(number), parts, replace=True)
            else:
                yield path


def discard(tree: Tree, batch_id: str) -> None:
    with tree.in_area(FOLDER) as folder:
        try:
            remove(folder, batch_id)
        except FileNotFoundError as error:
            raise NotFound from error


def _read(inside: int, batch_id: str) -> Batch:
    descriptor = os.open(MANIFEST, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=inside)
    with os.fdopen(descriptor, "rb") as file:
        kept: dict[str, Any] = json.loads(file.read())
    return Batch(batch_id, kept["overwrite"], [(path, size) for path, size in kept["entries"]])


def _write_file(folder: int, name: str, content: bytes) -> None:
    """Write a small file so that it is whole or missing."""
    descriptor = os.open(f"{name}.part", _CREATE, 0o600, dir_fd=folder)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{name}.part", name, src_dir_fd=folder, dst_dir_fd=folder)


@contextmanager
def _opened(folder: int, name: str) -> Iterator[int]:
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
