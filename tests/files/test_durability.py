"""Confirmed uploads survive a power failure: files and their directories are synchronised."""

import os
from pathlib import Path

import httpx
import pytest

from services.files.settings import Settings
from tests.files.support import Person

STORAGE = ("sqlite",)


class Synchronised:
    """The real fsync, which records the path and, for a directory, its entries at that time."""

    def __init__(self) -> None:
        self.calls: list[tuple[Path, set[str]]] = []
        self._fsync = os.fsync

    def __call__(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        self._fsync(descriptor)
        names = {one.name for one in path.iterdir()} if path.is_dir() else set()
        self.calls.append((path, names))

    def index(self, path: Path, name: str = "") -> int:
        """Return the index of the call for this file, or for this directory when it had this entry."""
        found = [
            number
            for number, (one, names) in enumerate(self.calls)
            if one == path and (not name or name in names)
        ]
        assert found, f"{path} was never synchronised {f'with {name} in it' if name else ''}"
        return found[0]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="resolves descriptors through /proc")
async def test_blob_and_its_directories_are_synchronised_before_the_response(
    disk_files: httpx.AsyncClient, disk_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    synchronised = Synchronised()
    monkeypatch.setattr(os, "fsync", synchronised)
    await Person(disk_files).upload(b"content")
    calls = len(synchronised.calls)

    assert disk_settings.storage_path is not None
    root = disk_settings.storage_path.absolute()
    (blob,) = (file for file in (root / "blobs").rglob("*") if file.is_file())
    content = synchronised.index(root / "staging" / blob.name)
    folder = synchronised.index(root / "blobs", blob.parent.name)
    name = synchronised.index(blob.parent, blob.name)
    assert content < folder < name < calls
