"""Backups in a bucket of S3, written and read in one pass: nothing of one appears until all has arrived."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

from botocore.exceptions import BotoCoreError, ClientError

from gatehouse.backup import NotDone
from gatehouse.backup.given import secret
from gatehouse.backup.places import Draft, Kept, Noted, alone_in
from shared.process.backups import receipt_of, taken_of, write_receipt
from shared.process.s3 import BucketFailed, client, code_of, explained

PART_BYTES = 16 << 20
_PARTS_OF_ONE_SIZE = 2000  # of the 10,000 parts that an object may have; then the parts double
_ABANDONED = timedelta(days=1)
_NO_BACKUP = "no backup was made"


@contextmanager
def asking(place: str, consequence: str) -> Iterator[None]:
    """Turn a failure of the bucket into NotDone, which says what is left as it was."""
    try:
        with explained(place):
            yield
    except BucketFailed as error:
        raise NotDone(f"{error}; {consequence}") from None


def own_client() -> Any:
    """Return a client with the keys of backups, which are not those of the suite."""
    given = {
        name: os.environ.get(f"BACKUP_S3_{name}") or None for name in ("ENDPOINT_URL", "REGION", "ACCESS_KEY")
    }
    return client(given["ENDPOINT_URL"], given["REGION"], given["ACCESS_KEY"], secret("BACKUP_S3_SECRET_KEY"))


class Bucket:
    """A bucket with backups."""

    def __init__(self, bucket: str, prefix: str, work: Path, receipts: Path) -> None:
        self._bucket, self._work, self._receipts = bucket, work, receipts
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._place = f"s3://{bucket}/{self._prefix}"
        with asking(self._place, _NO_BACKUP):
            self._client = own_client()

    @contextmanager
    def alone(self) -> Iterator[Path]:
        with asking(self._place, _NO_BACKUP):
            abort_abandoned(self._client, self._bucket, f"{self._prefix}gatehouse-")
        self._work.mkdir(parents=True, exist_ok=True, mode=0o700)
        with alone_in(self._work, self._place) as work:
            yield work

    def draft(self, name: str) -> Draft:
        return Upload(self._client, self._bucket, f"{self._prefix}{name}", _NO_BACKUP)

    def noted(self, name: str, size: int, /) -> Noted:
        """Leave a receipt, from which the metrics, the console and the doctor learn of this backup."""
        place = f"{self._place}{name}"
        if taken_of(name) is None:
            return Noted(place)
        try:
            self._receipts.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_receipt(self._receipts, name, place, size)
        except OSError as error:
            return Noted(
                place,
                f"its receipt cannot be written to {self._receipts} ({error.strerror}), so the metrics, the "
                "console and the doctor do not know of it; set BACKUP_DIR to a folder that can be written",
            )
        return Noted(place)

    def backups(self) -> list[Kept]:
        found = []
        pages = self._client.get_paginator("list_objects_v2")
        with asking(self._place, "old backups were not removed"):
            for page in pages.paginate(Bucket=self._bucket, Prefix=f"{self._prefix}gatehouse-"):
                for one in page.get("Contents", ()):
                    name = one["Key"].removeprefix(self._prefix)
                    if taken := taken_of(name):
                        found.append(Kept(taken, name))
        return sorted(found, reverse=True)

    def remove(self, name: str) -> str:
        place = f"{self._place}{name}"
        with asking(place, "it was not removed"):
            self._client.delete_object(Bucket=self._bucket, Key=f"{self._prefix}{name}")
        with suppress(OSError):  # the folder may be read-only; an old receipt hides no newer one
            receipt_of(self._receipts, name).unlink(missing_ok=True)
        return place


class Upload:
    """A new object of unknown size. What a killed one leaves is invisible, and is aborted a day later."""

    def __init__(self, client: Any, bucket: str, key: str, consequence: str) -> None:
        self._client, self._place, self._consequence = client, f"s3://{bucket}/{key}", consequence
        self._piece = bytearray()
        self._parts: list[dict[str, Any]] = []
        self._size = 0
        where = {"Bucket": bucket, "Key": key}
        with asking(self._place, consequence):
            begun = client.create_multipart_upload(**where)
        self._upload = {**where, "UploadId": begun["UploadId"]}

    def write(self, data: bytes, /) -> int:
        self._piece += data
        size = PART_BYTES << len(self._parts) // _PARTS_OF_ONE_SIZE
        while len(self._piece) >= size:
            self._send(bytes(self._piece[:size]))
            del self._piece[:size]
        return len(data)

    def finish(self) -> int:
        if self._piece or not self._parts:
            self._send(bytes(self._piece))
        with asking(self._place, self._consequence):
            self._client.complete_multipart_upload(**self._upload, MultipartUpload={"Parts": self._parts})
        return self._size

    def abandon(self) -> None:
        with suppress(BotoCoreError, ClientError):  # the same fault, perhaps, as the reason for this
            self._client.abort_multipart_upload(**self._upload)

    def _send(self, body: bytes) -> None:
        number = len(self._parts) + 1
        with asking(self._place, self._consequence):
            sent = self._client.upload_part(**self._upload, PartNumber=number, Body=body)
        kept = {name: value for name, value in sent.items() if name == "ETag" or name.startswith("Checksum")}
        self._parts.append({**kept, "PartNumber": number})
        self._size += len(body)


def abort_abandoned(client: Any, bucket: str, prefix: str) -> None:
    """Remove the parts of killed uploads: they cost money and appear in no list."""
    before = datetime.now(UTC) - _ABANDONED
    for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
        for one in page.get("Uploads", ()):
            if one["Initiated"] < before:
                where = {"Bucket": bucket, "Key": one["Key"], "UploadId": one["UploadId"]}
                client.abort_multipart_upload(**where)


class Object:
    """A backup in a bucket, to read from."""

    def __init__(self, bucket: str, key: str, consequence: str = "nothing was changed") -> None:
        self._bucket, self._key, self._consequence = bucket, key, consequence

    def __str__(self) -> str:
        return f"s3://{self._bucket}/{self._key}"

    @property
    def name(self) -> str:
        return self._key.rpartition("/")[2]

    def failing_with(self, consequence: str) -> "Object":
        """Return the same backup, for a reader who has changed something already."""
        return Object(self._bucket, self._key, consequence)

    def open(self, _mode: Any, /) -> IO[bytes]:
        with asking(f"s3://{self._bucket}", self._consequence):
            try:
                found = own_client().get_object(Bucket=self._bucket, Key=self._key)
            except ClientError as error:
                if code_of(error) == "NoSuchKey":
                    raise FileNotFoundError(str(self)) from None
                raise
        return io.BufferedReader(Body(found["Body"], str(self), self._consequence), 1 << 20)


class Body(io.RawIOBase):
    """The body of a response; a lost connection becomes NotDone."""

    def __init__(self, body: Any, place: str, consequence: str) -> None:
        self._body, self._place, self._consequence = body, place, consequence

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        try:
            piece: bytes = self._body.read(len(buffer))
        except BotoCoreError as error:
            raise NotDone(f"{self._place}: the connection was lost ({error}); {self._consequence}") from None
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._body.close()
        super().close()
