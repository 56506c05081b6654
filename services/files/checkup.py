"""What `gatehouse doctor` checks for the files service: whether the bucket takes and returns content."""

import secrets
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from services.files.errors import StorageUnavailable
from services.files.settings import Settings
from services.files.storage.store import BlobMissing
from shared.ids import new_id
from shared.process.checkup import Finding, fault, good

NAME = "files bucket"


def checks(settings: Settings) -> Iterator[Finding]:
    if settings.storage_type != "s3":
        return
    from services.files.storage.s3_store import S3Store  # imported late: boto3 takes a second

    store, key, content = S3Store(settings), new_id(), secrets.token_bytes(32)
    try:
        with tempfile.TemporaryDirectory() as folder:
            draft = Path(folder) / "probe"
            draft.write_bytes(content)
            store.put(key, draft, sha256(content).hexdigest())
        reader = store.open(key, 0, len(content))
        is_same = reader.read(len(content) + 1) == content
        reader.close()
        store.delete(key)
    except (StorageUnavailable, BlobMissing) as error:
        words = f"a probe could not be stored and read in {settings.s3_bucket} ({error.__cause__ or error})"
        yield fault(NAME, words, "Check S3_BUCKET, S3_ENDPOINT_URL and the rights of S3_ACCESS_KEY.")
        return
    if is_same:
        yield good(NAME, f"a probe was stored, read and deleted in {settings.s3_bucket}")
    else:
        yield fault(NAME, f"{settings.s3_bucket} returned other content than was stored", "Do not use it.")
