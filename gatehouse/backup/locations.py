"""What the operator names: a folder or file of this machine, or `s3://bucket/prefix`."""

import re
from pathlib import Path

from gatehouse.backup import NotDone
from gatehouse.backup.places import Folder, Openable, Place

_URL = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", re.DOTALL)


def place_of(text: str, *, work: Path, receipts: Path) -> Place:
    """Return the place; for a bucket, drafts are made in `work` and finished backups noted in `receipts`."""
    if (found := _split(text)) is None:
        return Folder(Path(text))
    from gatehouse.backup.objects import Bucket  # imported late: boto3 is large

    return Bucket(*found, work, receipts)


def file_of(text: str) -> Openable:
    """Return a backup by its path or URL."""
    if (found := _split(text)) is None:
        return Path(text)
    if not found[1] or found[1].endswith("/"):
        raise NotDone(f"{text} names no backup: add the name of its file to it; nothing was changed")
    from gatehouse.backup.objects import Object

    return Object(*found)


def is_bucket(text: str) -> bool:
    return text.startswith("s3:")


def _split(text: str) -> tuple[str, str] | None:
    if not is_bucket(text):
        return None
    match = _URL.fullmatch(text)
    if match is None:
        raise NotDone(f"{text} is not the URL of a bucket, such as s3://bucket/prefix; nothing was changed")
    return match[1], match[2] or ""
