"""The backups in a folder: their names tell when they were taken, and only complete ones have such a name."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

# Backups of some services only have more in their names, and are not meant here.
_NAME = re.compile(r"gatehouse-(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ)\.tar")
FOLDER = Path("backups")  # unless BACKUP_DIR names another


class Backup(NamedTuple):
    """A backup of all services."""

    taken: datetime
    path: Path


def backups_in(folder: Path) -> list[Backup]:
    """Return the backups in a folder, newest first; none if there is no such folder."""
    return sorted(_found(folder), reverse=True)


def _found(folder: Path) -> Iterator[Backup]:
    for path in folder.iterdir() if folder.is_dir() else ():
        if match := _NAME.fullmatch(path.name):
            yield Backup(datetime.strptime(match[1], "%Y-%m-%dT%H-%M-%SZ").replace(tzinfo=UTC), path)
