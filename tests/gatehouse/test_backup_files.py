"""The file of a backup: refused if any byte is missing or changed; which ones are kept; sealed secrets."""

import io
import json
import subprocess
from pathlib import Path

import pytest

from gatehouse.backup import NotDone, retention, sealing
from gatehouse.backup.archive import MANIFEST, SUMS, Writer, read, written
from gatehouse.backup.places import FileDraft, Folder
from shared.ids import new_id

CONTENT = {"databases/a": b"rows " * 400, "folders/f/näme": b"", "folders/f/back\\slash": b"x" * 3}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "gatehouse.tar"
    with written(FileDraft(path), {"id": "one"}) as writer:
        writer.add_folder("folders/f", tmp_path.stat())
        writer.add_link("folders/f/link", "/etc", tmp_path.stat())
        for name, content in CONTENT.items():
            writer.add_bytes(name, content)
        writer.finish()
    return path


def contents(path: Path, *, reading: bool = True) -> dict[str, bytes]:
    with read(path) as (manifest, members):
        assert manifest["format"] == 1
        assert manifest["id"]
        return {
            member.name: content.read() if reading else b""
            for member, content in members
            if content is not None
        }


def test_members_come_back_and_sha256sum_agrees(archive: Path, tmp_path: Path) -> None:
    assert contents(archive) == CONTENT
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "-xf", archive], cwd=out, check=True)
    checked = subprocess.run(
        ["sha256sum", "-c", SUMS],
        cwd=out,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(checked.stdout.splitlines()) == len(CONTENT) + 1
    assert json.loads((out / MANIFEST).read_text())["id"] == "one"


@pytest.mark.parametrize("reading", [True, False])
def test_no_byte_can_be_missing_or_changed(archive: Path, tmp_path: Path, reading: bool) -> None:
    whole = archive.read_bytes()
    meaningful = whole.rstrip(b"\0")
    broken = tmp_path / "broken.tar"
    for length in range(0, len(meaningful), 97):
        broken.write_bytes(whole[:length])
        with pytest.raises(NotDone):
            contents(broken, reading=reading)
    for content in (b"rows rows", b"xxx", b'"id": "one"'):
        place = whole.index(content)
        broken.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises((NotDone, AssertionError)):
            contents(broken, reading=reading)


def test_file_that_became_shorter_meanwhile_ends_in_zeros(tmp_path: Path) -> None:
    path = tmp_path / "gatehouse.tar"
    with written(FileDraft(path), {"id": "one"}) as writer:
        writer.add("growing", io.BytesIO(b"abc"), 5)
        writer.finish()
    assert contents(path) == {"growing": b"abc\0\0"}


def test_nothing_is_left_of_an_archive_that_failed(tmp_path: Path) -> None:
    def fail(writer: Writer) -> None:
        writer.add_bytes("name", b"content")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), written(FileDraft(tmp_path / "gatehouse.tar"), {}) as writer:
        fail(writer)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"root:x:0:0", bytes(20_000)])
def test_other_files_are_no_backups(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(NotDone, match="not a backup"):
        contents(path)
    with pytest.raises(NotDone, match="no such file"):
        contents(tmp_path / "missing")


def test_backup_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gatehouse.tar"
    with written(FileDraft(path), {"id": "one", "format": 2}) as writer:
        writer.finish()
    with pytest.raises(NotDone, match="newer version"):
        contents(path)


def test_newest_of_each_period_is_kept(tmp_path: Path) -> None:
    days = [f"2026-{month:02}-{day:02}" for month in (9, 10, 11) for day in range(1, 29)]
    for day in days:
        for hour in ("03", "15"):
            (tmp_path / f"gatehouse-{day}T{hour}-00-00Z.tar").touch()
    (tmp_path / "notes.tar").touch()
    removed = retention.remove(Folder(tmp_path), retention.parsed("3d, 2w, 3m"))

    kept = sorted(path.name[10:23] for path in tmp_path.iterdir() if path.name != "notes.tar")
    assert kept == [
        "2026-09-28T15",
        "2026-10-28T15",
        "2026-11-22T15",
        *(f"2026-11-{d}T15" for d in (26, 27, 28)),
    ]
    assert len(removed) == 2 * len(days) - len(kept)
    assert retention.remove(Folder(tmp_path), retention.parsed("1y")) != []
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "gatehouse-2026-11-28T15-00-00Z.tar",
        "notes.tar",
    ]


@pytest.mark.parametrize("rules", ["7", "d", "0d", "7days", "-1d"])
def test_malformed_rule_is_refused(rules: str) -> None:
    with pytest.raises(NotDone, match="--keep"):
        retention.parsed(rules)


def test_secrets_open_with_their_passphrase_and_backup_only() -> None:
    secrets: sealing.Secrets = {"variables": {"KEY_SECRET": "a" * 64}, "files": {}}
    backup_id = new_id()
    sealed = sealing.seal("a long passphrase", backup_id, secrets)

    assert b"aaaa" not in sealed
    assert sealing.unseal("a long passphrase", backup_id, sealed) == secrets
    for passphrase, of, content in (
        ("another passphrase", backup_id, sealed),
        ("a long passphrase", new_id(), sealed),
        ("a long passphrase", backup_id, sealed[:-1]),
        ("a long passphrase", backup_id, b""),
    ):
        with pytest.raises(NotDone, match="BACKUP_PASSPHRASE"):
            sealing.unseal(passphrase, of, content)
