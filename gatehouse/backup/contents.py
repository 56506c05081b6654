"""The content of buckets: copied into a backup, and put back.

A service writes an object once, under a new key, so equal keys mean equal content.
"""

import io
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import IO, Any
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from gatehouse.backup.archive import Writer
from gatehouse.backup.objects import Body, Upload, asking
from shared.process.s3 import MISSING, client_of, code_of
from shared.process.stored import HOLD_PREFIX, StoredBucket

AT_ONCE = 8
SMALL_BYTES = 1 << 20  # objects up to this size are held in memory, several at a time
_NO_BACKUP, _UNCHANGED = "no backup was made", "nothing was changed"

Say = Callable[[str], None]
Content = IO[bytes] | None


class BucketContent:
    """The objects of one service in its bucket."""

    def __init__(self, stored: StoredBucket) -> None:
        self.stored = stored
        self._client = client_of(stored)

    def is_empty(self) -> bool:
        with asking(self.stored.place, _UNCHANGED):
            return next(self._listed(), None) is None

    def _listed(self) -> Iterator[tuple[str, int]]:
        """Yield the keys and sizes of the service's own objects."""
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.stored.bucket, Prefix=self.stored.prefix):
            for one in page.get("Contents", ()):
                key = one["Key"].removeprefix(self.stored.prefix)
                if self.stored.key.fullmatch(key):
                    yield key, one["Size"]

    def _at(self, key: str) -> dict[str, Any]:
        return {"Bucket": self.stored.bucket, "Key": f"{self.stored.prefix}{key}"}

    # Into a backup.

    def copy(self, archive: Writer, folder: str, say: Say) -> str:
        """Add all objects to the archive, where a folder would have them; return a line about them."""
        files = size = 0
        with asking(self.stored.place, _NO_BACKUP), ThreadPoolExecutor(AT_ONCE) as threads:
            for key, length, fetch in self._fetched(threads):
                content = fetch()
                if content is None:  # removed meanwhile
                    continue
                with content:
                    archive.add(f"{folder}/{self.stored.name}/{self.stored.path_of(key)}", content, length)
                files, size = files + 1, size + length
                if files % 10_000 == 0:
                    say(f"{self.stored.name}: {files:,} objects so far")
        return f"{self.stored.name}: {files:,} objects, {size / 1e6:,.1f} MB"

    def _fetched(self, threads: ThreadPoolExecutor) -> Iterator[tuple[str, int, Callable[[], Content]]]:
        """Yield all objects with a function that returns their content; small ones are fetched ahead."""
        coming: deque[tuple[str, int, Callable[[], Content]]] = deque()
        for key, size in self._listed():
            get = partial(self._get, key, size)
            coming.append((key, size, threads.submit(get).result if size <= SMALL_BYTES else get))
            if len(coming) > AT_ONCE:
                yield coming.popleft()
        yield from coming

    def _get(self, key: str, size: int) -> Content:
        """Return the content of an object; None if there is none any more."""
        try:
            body = self._client.get_object(**self._at(key))["Body"]
        except ClientError as error:
            if code_of(error) in MISSING:
                return None
            raise
        if size <= SMALL_BYTES:
            return io.BytesIO(body.read())
        return io.BufferedReader(Body(body, f"{self.stored.place}{key}", _NO_BACKUP), SMALL_BYTES)

    # From a backup.

    def put(self, key: str, content: IO[bytes], size: int) -> None:
        """Store an object unless it is there already."""
        with asking(self.stored.place, "its rows were not changed"):
            try:
                if self._client.head_object(**self._at(key))["ContentLength"] == size:
                    return
            except ClientError as error:
                if code_of(error) not in MISSING:
                    raise
            if size <= SMALL_BYTES:
                self._client.put_object(**self._at(key), Body=content.read(size), ContentLength=size)
                return
        where = self._at(key)
        upload = Upload(self._client, where["Bucket"], where["Key"], "its rows were not changed")
        try:
            while piece := content.read(SMALL_BYTES):
                upload.write(piece)
            upload.finish()
        except BaseException:
            upload.abandon()
            raise

    def keep_others(self, keys: set[str], below: str) -> int:
        """Copy the objects that are not among these keys to a prefix of their own; return how many.

        The service removes what no row names, and the rows that named them are replaced.
        """
        copied = 0
        with asking(self.stored.place, "its rows were not changed"):
            for key, _ in self._listed():
                if key not in keys:
                    source = self._at(key)
                    self._client.copy(source, self.stored.bucket, f"{self.stored.prefix}{below}/{key}")
                    copied += 1
        return copied


class BucketHold:
    """A backup's hold on a bucket: an object whose age says whether the backup is still running."""

    def __init__(self, stored: StoredBucket) -> None:
        self._client = client_of(stored)
        self._where = {"Bucket": stored.bucket, "Key": f"{stored.prefix}{HOLD_PREFIX}{uuid4().hex}"}
        self._place = stored.place

    def begin(self) -> None:
        with asking(self._place, _NO_BACKUP):
            self._client.put_object(**self._where, Body=b"")

    def extend(self) -> None:
        with suppress(BotoCoreError, ClientError):  # the next time it may succeed
            self._client.put_object(**self._where, Body=b"")

    def end(self) -> None:
        with suppress(BotoCoreError, ClientError):  # it expires by itself
            self._client.delete_object(**self._where)
