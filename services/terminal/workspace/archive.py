"""Archives of folders: a zip is written while it is sent, and is never complete in memory or on disk."""

import io
import os
import stat
import time
import zipfile
from collections.abc import Generator, Iterator
from typing import Any

from services.terminal.workspace.paths import Parts, shown
from services.terminal.workspace.tree import Tree
from services.terminal.workspace.walks import PATH_CHARACTERS_MAX, walk

READ_BYTES = 256 * 1024
LEVEL = 1  # speed over size
MISSING = "NOT-INCLUDED.txt"
EARLIEST, LATEST = 315532800, 4354819198  # what a zip can express: 1980 to 2107
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class _Sink(io.RawIOBase):
    """Collects what the archive writes; it cannot seek, so sizes follow each file."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._pieces.append(bytes(data))
        self.size += len(data)
        return len(data)

    def take(self) -> bytes:
        pieces, self._pieces, self.size = self._pieces, [], 0
        return b"".join(pieces)


def zip_pieces(tree: Tree, parts: Parts) -> Generator[bytes, None, None]:
    """Yield a zip of a folder. Links are left out; what could not be read is listed in a last file."""
    sink, missing = _Sink(), []
    with (
        tree.folder(parts) as folder,
        zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as archive,
    ):
        characters = 0
        for above, parent, name in walk(folder, (), hidden=True):
            characters += sum(map(len, above)) + len(name)
            if characters > PATH_CHARACTERS_MAX:
                missing.append("… and everything after this: the paths are too long for one archive")
                break
            path = "/".join(shown(one)[0].replace("\\", "_") for one in (*above, name))
            try:
                found = os.stat(name, dir_fd=parent, follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    archive.writestr(_info(f"{path}/", found), b"")
                elif stat.S_ISREG(found.st_mode):
                    yield from _add_file(archive, sink, parent, name, path)
            except OSError:
                missing.append(path)
            if sink.size >= READ_BYTES:
                yield sink.take()
        if missing:
            archive.writestr(MISSING, "\n".join(["These files could not be read:", *missing, ""]))
    yield sink.take()


def _add_file(archive: zipfile.ZipFile, sink: _Sink, parent: int, name: str, path: str) -> Iterator[bytes]:
    source = os.open(name, _READ, dir_fd=parent)
    try:
        found = os.fstat(source)
        left = found.st_size if stat.S_ISREG(found.st_mode) else 0
        with archive.open(_info(path, found), "w", force_zip64=left >= zipfile.ZIP64_LIMIT) as entry:
            while left and (piece := os.read(source, min(left, READ_BYTES))):
                left -= len(piece)
                entry.write(piece)
                if sink.size >= READ_BYTES:
                    yield sink.take()
    finally:
        os.close(source)


def _info(path: str, found: os.stat_result) -> zipfile.ZipInfo:
    moment = time.gmtime(min(max(found.st_mtime, EARLIEST), LATEST))
    info = zipfile.ZipInfo(path, (moment[0], moment[1], moment[2], moment[3], moment[4], moment[5]))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = (stat.S_IMODE(found.st_mode) | stat.S_IFMT(found.st_mode)) << 16
    return info
