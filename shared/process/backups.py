"""The backups in a folder: their names tell when they were taken, and only complete ones have such a name.

A backup in a bucket has a receipt in the folder, so that its age and size are known as well.
"""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

NAME_END = ".tar"
RECEIPT_END = ".receipt"
# Backups of only some services have longer names, and do not count here.
_NAME = re.compile(r"gatehouse-(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ)\.tar")
FOLDER = Path("backups")  # unless BACKUP_DIR names another


class Backup(NamedTuple):
    """A backup of all services, or the receipt of one."""

    taken: datetime
    path: Path

    @property
    def is_receipt(self) -> bool:
        return self.path.suffix == RECEIPT_END

    @property
    def name(self) -> str:
        return self.path.name.removesuffix(RECEIPT_END)


def backups_in(folder: Path) -> list[Backup]:
    """Return the backups in a folder, newest first; none if there is no such folder."""
    return sorted(_found(folder), reverse=True)


def size_of(backup: Backup) -> int | None:
    """Return the size in bytes; None if the backup was removed meanwhile."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        if backup.is_receipt:
            return int(json.loads(backup.path.read_text())["size"])
        return backup.path.stat().st_size
    return None


def taken_of(name: str) -> datetime | None:
    """Return when the backup with this name was taken; None for other files and backups of some services."""
    if match := _NAME.fullmatch(name):
        with suppress(ValueError):
            return datetime.strptime(match[1], "%Y-%m-%dT%H-%M-%SZ").replace(tzinfo=UTC)
    return None


def receipt_of(folder: Path, name: str) -> Path:
    return folder / f"{name}{RECEIPT_END}"


def write_receipt(folder: Path, name: str, place: str, size: int) -> None:
    """Note in the folder that a backup is elsewhere."""
    receipt = receipt_of(folder, name)
    draft = receipt.with_suffix(".draft")
    draft.write_text(json.dumps({"place": place, "size": size}))
    draft.replace(receipt)


def _found(folder: Path) -> Iterator[Backup]:
    for path in folder.iterdir() if folder.is_dir() else ():
        if taken := taken_of(path.name.removesuffix(RECEIPT_END)):
            yield Backup(taken, path)
