"""Blobs in a bucket of S3 or a compatible service.

boto3 blocks, so it is only called in the threads of Blobs; one client serves them all, as boto3 allows.
"""

import base64
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from services.files.errors import StorageUnavailable
from services.files.settings import Settings
from services.files.storage.store import KEY, BlobMissing, BlobReader, Stored
from shared.process.s3 import MISSING, client_of, code_of, is_held

log = structlog.get_logger(__name__)

MULTIPART_BYTES_MIN = 64 << 20
PART_BYTES = 16 << 20
PARTS_MAX = 10_000
PARTS_AT_ONCE = 4
THERE_ALREADY = frozenset({"412", "PreconditionFailed"})


class S3Store:
    """A bucket of blobs. Uploads carry a checksum, so that corrupted ones are refused."""

    def __init__(self, settings: Settings) -> None:
        self._bucket, self._prefix = settings.s3_bucket, settings.s3_prefix
        self._client = client_of(settings.bucket())
        self._parts = ThreadPoolExecutor(PARTS_AT_ONCE, thread_name_prefix="s3-parts")

    def put(self, key: str, staged: Path, sha256: str, /) -> None:
        size = staged.stat().st_size
        with _told("put", key):
            try:
                if size > MULTIPART_BYTES_MIN:
                    self._put_in_parts(key, staged, size)
                else:
                    self._put_at_once(key, staged, size, sha256)
            except ClientError as error:
                # A key is used once: an existing blob came from this upload, whose response was lost.
                if code_of(error) not in THERE_ALREADY or self.size(key) != size:
                    raise
        staged.unlink()

    def _put_at_once(self, key: str, staged: Path, size: int, sha256: str) -> None:
        with staged.open("rb") as body:
            self._client.put_object(
                **self._at(key),
                Body=body,
                ContentLength=size,
                ChecksumSHA256=base64.b64encode(bytes.fromhex(sha256)).decode(),
                IfNoneMatch="*",
            )

    def _put_in_parts(self, key: str, staged: Path, size: int) -> None:
        begun = self._client.create_multipart_upload(**self._at(key), ChecksumAlgorithm="SHA256")
        upload = {**self._at(key), "UploadId": begun["UploadId"]}
        step = max(PART_BYTES, -(-size // PARTS_MAX))

        def send(number: int) -> dict[str, Any]:
            with staged.open("rb") as handle:
                handle.seek((number - 1) * step)
                body = handle.read(step)
            sent = self._client.upload_part(
                **upload, PartNumber=number, Body=body, ChecksumAlgorithm="SHA256"
            )
            kept = {name: sent[name] for name in ("ETag", "ChecksumSHA256") if name in sent}
            return {"PartNumber": number, **kept}

        try:
            parts = [*self._parts.map(send, range(1, -(-size // step) + 1))]
            self._client.complete_multipart_upload(
                **upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
            )
        except BaseException:
            self._client.abort_multipart_upload(**upload)
            raise

    def open(self, key: str, start: int, length: int, /) -> BlobReader:
        if length == 0:  # an empty range cannot be expressed
            if self.size(key) is None:
                raise BlobMissing(key)
            return io.BytesIO()
        with _told("get", key):
            found = self._client.get_object(**self._at(key), Range=f"bytes={start}-{start + length - 1}")
        reader: BlobReader = found["Body"]
        return reader

    def size(self, key: str) -> int | None:
        try:
            with _told("head", key):
                size: int = self._client.head_object(**self._at(key))["ContentLength"]
        except BlobMissing:
            return None
        return size

    def delete(self, key: str) -> None:
        with _told("delete", key):
            self._client.delete_object(**self._at(key))

    def list(self) -> Iterator[Stored]:
        pages = self._client.get_paginator("list_objects_v2")
        with _told("list", ""):
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix):
                for one in page.get("Contents", ()):
                    key = one["Key"].removeprefix(self._prefix)
                    if KEY.fullmatch(key):  # the bucket may hold more than blobs
                        yield Stored(key, one["Size"], one["LastModified"].timestamp())

    def clear(self, older_than: float) -> None:
        """Abort abandoned multipart uploads: their parts cost money and appear in no list."""
        before = datetime.now(UTC) - timedelta(seconds=older_than)
        pages = self._client.get_paginator("list_multipart_uploads")
        with _told("clear", ""):
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix):
                for one in page.get("Uploads", ()):
                    is_ours = KEY.fullmatch(one["Key"].removeprefix(self._prefix))
                    if is_ours and one["Initiated"] < before:
                        where = {"Bucket": self._bucket, "Key": one["Key"], "UploadId": one["UploadId"]}
                        self._client.abort_multipart_upload(**where)

    def is_held(self) -> bool:
        with _told("list", ""):
            return is_held(self._client, self._bucket, self._prefix)

    def link(self, key: str, disposition: str, content_type: str, seconds: int) -> str | None:
        """Return a URL that is valid for a while, from which a browser gets the blob directly."""
        saved_as = {"ResponseContentDisposition": disposition, "ResponseContentType": content_type}
        address: str = self._client.generate_presigned_url(
            "get_object", Params={**self._at(key), **saved_as}, ExpiresIn=seconds
        )
        return address

    def close(self) -> None:
        self._parts.shutdown()
        self._client.close()

    def _at(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._prefix + key}


@contextmanager
def _told(what: str, key: str) -> Iterator[None]:
    """Translate a failure of the bucket into a Problem, and log the original."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        if isinstance(error, ClientError) and code_of(error) in MISSING:
            raise BlobMissing(key) from error
        log.exception("storage_failed", operation=what, key=key)
        raise StorageUnavailable from error
