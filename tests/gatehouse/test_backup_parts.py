"""What a backup takes from folders and settings, and what it leaves out."""

import gzip
import io
import os
import socket
from pathlib import Path

import pytest

from gatehouse.backup import NotDone, databases, retention
from gatehouse.backup.archive import read, written
from gatehouse.backup.places import FileDraft, Folder
from gatehouse.backup.taking import FolderCopy
from gatehouse.backup.verifying import reads_with
from shared.process.stored import StoredFolder


def copied(folder: Path, *, is_of_people: bool) -> tuple[str, list[str]]:
    """Copy a folder to an archive; return the line about it, and the names in the archive."""
    archive = folder.with_name("gatehouse.tar")
    with written(FileDraft(archive), {}) as writer:
        line = FolderCopy(writer, StoredFolder("homes", folder, is_of_people), print).copy()
        writer.finish()
    with read(archive) as (_, members):
        return line, [member.name.removeprefix("folders/homes/") for member, _ in members]


def test_what_people_left_in_their_homes_stops_no_backup(tmp_path: Path) -> None:
    home = tmp_path / "homes"
    (home / "ann").mkdir(parents=True)
    (home / "ann" / "notes").write_text("notes")
    (home / "ann" / "link").symlink_to("/etc/passwd")
    with (home / "ann" / "hollow").open("wb") as hollow:
        hollow.truncate(1 << 40)
    os.mkfifo(home / "ann" / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(home / "ann" / "socket"))
        line, names = copied(home, is_of_people=True)

    assert line == "homes: 1 files, 0.0 MB; 3 that cannot be copied left out"
    assert names == ["ann", "ann/link", "ann/notes"]


def test_content_that_cannot_be_copied_stops_a_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "blob").write_text("content")
    (tmp_path / "files" / ".backup-in-progress-1").touch()
    assert copied(tmp_path / "files", is_of_people=False)[1] == ["blob"]

    def refuse(path: str, *_: int) -> int:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("gatehouse.backup.taking.os.open", refuse)
    with pytest.raises(NotDone, match="Permission denied"):
        FolderCopy(None, StoredFolder("files", tmp_path / "files"), print).copy()  # type: ignore[arg-type]


def test_a_backup_of_some_services_displaces_no_whole_one(tmp_path: Path) -> None:
    for name in ("gatehouse-2026-11-28T03-00-00Z.tar", "gatehouse-orders-2026-11-28T12-00-00Z.tar"):
        (tmp_path / name).touch()
    assert retention.remove(Folder(tmp_path), {"d": 7}) == []


def test_damage_within_a_packed_database_is_named(tmp_path: Path) -> None:
    packed = gzip.compress(os.urandom(5_000))
    for place in range(12, len(packed), 401):
        broken = packed[:place] + bytes([packed[place] ^ 0xFF]) + packed[place + 1 :]
        with pytest.raises(NotDone, match="damaged"):
            databases.unpack_sqlite(io.BytesIO(broken), tmp_path / f"{place}.db")


def test_a_verified_copy_reaches_no_other_server() -> None:
    kept = {"KEY_SECRET": "1", "AUDIT_KEY_SECRET": "2", "JWT_SECRET": "3", "INTERNAL_SECRET_PREVIOUS": "4"}
    others = {"REDIS_URL": "5", "SMTP_URL": "6", "SENDGRID_API_KEY": "7", "TWILIO_AUTH_TOKEN": "8"}
    assert reads_with(kept | others) == kept
