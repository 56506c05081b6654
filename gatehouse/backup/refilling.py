"""Puts the content of a backup back into buckets.

This precedes the rows that name it, because content without rows does no harm.
"""

import tarfile
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from typing import IO

from gatehouse.backup.archive import read
from gatehouse.backup.contents import AT_ONCE, SMALL_BYTES, BucketContent, Say
from gatehouse.backup.objects import Object
from gatehouse.backup.places import Openable
from gatehouse.backup.taking import FOLDERS
from shared.process.stored import StoredBucket

_BEGUN = "no row was changed, but objects may be in the bucket already: run it again with --replace"


def refill(place: Openable, buckets: Mapping[str, StoredBucket], replaced: str, say: Say) -> None:
    """Read the backup a second time: the first time has checked it, so that a damaged one stores nothing."""
    filled = {name: _Filled(BucketContent(bucket)) for name, bucket in buckets.items()}
    again = place.failing_with(_BEGUN) if isinstance(place, Object) else place
    with read(again) as (_, members), ThreadPoolExecutor(AT_ONCE) as threads:
        for member, content in members:
            top, _, rest = member.name.partition("/")
            name, _, path = rest.partition("/")
            if top == FOLDERS and name in filled and content is not None:
                filled[name].add(path, member, content, threads)
    for name, one in filled.items():
        say(f"{name}: {one.finish(replaced)}")


class _Filled:
    """One bucket, and the keys of the objects that were written to it."""

    def __init__(self, content: BucketContent) -> None:
        self._content = content
        self._keys: set[str] = set()
        self._storing: list[Future[None]] = []

    def add(
        self, path: str, member: tarfile.TarInfo, content: IO[bytes], threads: ThreadPoolExecutor
    ) -> None:
        key = self._content.stored.key_of(path)
        if key is None:  # an unfinished upload, which was in the folder
            return
        self._keys.add(key)
        if member.size > SMALL_BYTES:
            self._content.put(key, content, member.size)
            return
        if len(self._storing) >= AT_ONCE:
            self._storing.pop(0).result()
        piece = BytesIO(content.read())
        self._storing.append(threads.submit(self._content.put, key, piece, member.size))

    def finish(self, replaced: str) -> str:
        """Keep what the backup does not know; return a line about all."""
        for one in self._storing:
            one.result()
        others = self._content.keep_others(self._keys, replaced)
        more = f"; {others:,} others kept below {replaced}" if others else ""
        return f"{len(self._keys):,} objects restored{more}"
