"""The file of a backup: a tar archive that begins with a manifest and ends with the hashes of all members.

Anybody can check it without this program: `tar -xf FILE && sha256sum -c SHA256SUMS`.
"""

import hashlib
import io
import json
import os
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Protocol

from gatehouse.backup import NotDone
from gatehouse.backup.places import Draft, Openable, opened

MANIFEST, SUMS = "manifest.json", "SHA256SUMS"
FORMAT = 1
MANIFEST_BYTES_MAX = 16 << 20
PIECE_BYTES = 1 << 20


class _Tar(tarfile.TarFile):
    """An archive whose list of members can be cleared; otherwise the list grows with the archive."""

    members: list[tarfile.TarInfo]


class Readable(Protocol):
    """What can be read piece by piece."""

    def read(self, size: int, /) -> bytes: ...


class HashingReader:
    """Passes on exactly `size` bytes and hashes them; a file that became shorter meanwhile ends in zeros."""

    def __init__(self, source: Readable, size: int) -> None:
        self._source, self._left = source, size
        self._hash = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        size = self._left if size < 0 else min(size, self._left)
        piece = self._source.read(size)
        piece += bytes(size - len(piece))
        self._left -= size
        self._hash.update(piece)
        return piece

    def sha256(self) -> str:
        return self._hash.hexdigest()


class Writer:
    """Writes an archive, which appears under its name only when it is complete and durable."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._sums = TemporaryFile()  # noqa: SIM115 - closed with the archive
        file: Any = draft  # tarfile only writes to it
        self._tar = _Tar.open(fileobj=file, mode="w|", bufsize=PIECE_BYTES, format=tarfile.PAX_FORMAT)

    def begin(self, manifest: dict[str, Any]) -> None:
        self.add_bytes(MANIFEST, json.dumps({"format": FORMAT, **manifest}, indent=2).encode())

    def add(self, name: str, source: Readable, size: int, found: os.stat_result | None = None) -> None:
        about = _about(name, found)
        about.size = size
        reader = HashingReader(source, size)
        self._tar.addfile(about, reader)
        self._tar.members.clear()
        self._sums.write(_sum_line(reader.sha256(), name))

    def add_bytes(self, name: str, content: bytes) -> None:
        self.add(name, io.BytesIO(content), len(content))

    def add_file(self, name: str, path: Path) -> None:
        with path.open("rb") as file:
            self.add(name, file, os.fstat(file.fileno()).st_size)

    def add_folder(self, name: str, found: os.stat_result) -> None:
        self._add_empty(_about(name, found), tarfile.DIRTYPE)

    def add_link(self, name: str, target: str, found: os.stat_result) -> None:
        about = _about(name, found)
        about.linkname = target
        self._add_empty(about, tarfile.SYMTYPE)

    def _add_empty(self, about: tarfile.TarInfo, kind: bytes) -> None:
        about.type = kind
        self._tar.addfile(about)
        self._tar.members.clear()

    def finish(self) -> int:
        """Make the archive appear under its name; return its size."""
        about = _about(SUMS, None)
        about.size = self._sums.tell()
        self._sums.seek(0)
        self._tar.addfile(about, self._sums)
        self._tar.close()
        self._sums.close()
        return self._draft.finish()

    def abandon(self) -> None:
        """Remove what was written so far."""
        with suppress(OSError, NotDone):  # of a full disk, for example
            self._tar.close()
        self._sums.close()
        self._draft.abandon()


@contextmanager
def written(draft: Draft, manifest: dict[str, Any]) -> Iterator[Writer]:
    """Write an archive; nothing is left of it if the block fails."""
    writer = Writer(draft)
    try:
        writer.begin(manifest)
        yield writer
    except BaseException:
        writer.abandon()
        raise


@contextmanager
def read(
    place: Openable,
) -> Iterator[tuple[dict[str, Any], Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]]]:
    """Open an archive; yield its manifest and its other members, in order.

    Whoever exhausts the members has read them all, and knows that each is what was written. A damaged archive
    raises NotDone, but possibly only after its last member.
    """
    try:
        with (
            opened(place) as file,
            _Tar.open(fileobj=file, mode="r|", bufsize=PIECE_BYTES) as tar,
            TemporaryFile() as sums,
        ):
            members = _Members(place, tar, sums)
            yield members.manifest(), iter(members)
    except (tarfile.TarError, EOFError) as error:
        raise NotDone(f"{place}: this is not a backup, or it is damaged ({error})") from None


class _Members:
    """Reads members one after another, and compares their hashes with those in the last member."""

    def __init__(self, place: Openable, tar: _Tar, sums: IO[bytes]) -> None:
        self._place, self._tar, self._found = place, tar, sums

    def manifest(self) -> dict[str, Any]:
        first = self._tar.next()
        if first is None or first.name != MANIFEST or first.size > MANIFEST_BYTES_MAX:
            raise NotDone(f"{self._place}: this is not a backup of Gatehouse")
        content = self._open(first).read(first.size)
        with suppress(ValueError):
            manifest: dict[str, Any] = json.loads(content)
            if manifest["format"] == FORMAT:
                self._found.write(_sum_line(hashlib.sha256(content).hexdigest(), MANIFEST))
                return manifest
        raise NotDone(f"{self._place}: a newer version of Gatehouse made it; restore it with that version")

    def __iter__(self) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
        while (member := self._tar.next()) is not None:
            self._tar.members.clear()
            if member.name == SUMS:
                return self._compare(member)
            if not member.isreg():
                yield member, None
                continue
            reader = HashingReader(self._open(member), member.size)
            with io.BufferedReader(_Raw(reader), PIECE_BYTES) as content:
                yield member, content
                while content.read(PIECE_BYTES):  # what the caller has not read
                    pass
            self._found.write(_sum_line(reader.sha256(), member.name))
        raise NotDone(f"{self._place}: the backup is truncated; its end is missing")

    def _open(self, member: tarfile.TarInfo) -> IO[bytes]:
        content = self._tar.extractfile(member)
        assert content is not None
        return content

    def _compare(self, member: tarfile.TarInfo) -> None:
        expected = self._open(member)
        self._found.seek(0)
        for found in self._found:
            if expected.readline() != found:
                name = found.decode().strip().partition("  ")[2]
                raise NotDone(f"{self._place}: the backup is damaged; {name} is not what was written")
        if expected.readline():
            raise NotDone(f"{self._place}: the backup is damaged; members are missing")


class _Raw(io.RawIOBase):
    """A hashing reader as a raw stream, for Python's buffered one."""

    def __init__(self, reader: HashingReader) -> None:
        self._reader = reader

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        piece = self._reader.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def _about(name: str, found: os.stat_result | None) -> tarfile.TarInfo:
    about = tarfile.TarInfo(name)
    about.mode, about.mtime = 0o600, time.time()
    if found is not None:
        about.mode, about.mtime = found.st_mode & 0o777, found.st_mtime
        about.uid, about.gid = found.st_uid, found.st_gid
    return about


def _sum_line(sha256: str, name: str) -> bytes:
    """Return a line as sha256sum writes it; it escapes names with a line feed or a backslash."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "\\" if escaped != name else ""
    return f"{mark}{sha256}  {escaped}\n".encode(errors="surrogateescape")
