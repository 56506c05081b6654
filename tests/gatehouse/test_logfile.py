"""The log file: bounded, in order, and continued after something has moved it."""

from pathlib import Path

import pytest

from gatehouse import logfile
from gatehouse.logfile import LogFile


@pytest.fixture(autouse=True)
def look_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "LOOK_SECONDS", 0.0)


def test_full_file_is_moved_and_the_oldest_is_dropped(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log", bytes_max=20, kept=2)
    for number in range(8):
        file.write(f"line {number:04}")  # ten bytes with the newline: two lines fit
    file.close()

    assert {each.name: each.read_text().split("\n")[:-1] for each in tmp_path.iterdir()} == {
        "log": ["line 0006", "line 0007"],
        "log.1": ["line 0004", "line 0005"],
        "log.2": ["line 0002", "line 0003"],
    }


def test_without_kept_files_the_file_starts_over(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log", bytes_max=10, kept=0)
    file.write("line 0001")
    file.write("line 0002")
    file.close()

    assert [each.read_text() for each in tmp_path.iterdir()] == ["line 0002\n"]


def test_file_that_logrotate_has_moved_is_recreated(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = LogFile(path, bytes_max=1000, kept=2)
    file.write("before")
    path.rename(tmp_path / "moved")
    file.write("after")
    file.close()

    assert (tmp_path / "moved").read_text() == "before\n"
    assert path.read_text() == "after\n"


def test_file_that_was_truncated_is_not_rotated_for_its_former_size(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = LogFile(path, bytes_max=20, kept=2)
    file.write("line 0001")
    file.write("line 0002")
    path.write_text("")
    file.write("line 0003")
    file.close()

    assert [each.name for each in tmp_path.iterdir()] == ["log"]
    assert path.read_text() == "line 0003\n"


def test_lines_are_appended_to_an_existing_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("of yesterday\n")
    file = LogFile(path, bytes_max=1000, kept=2)
    file.write("of today")
    file.close()

    assert path.read_text() == "of yesterday\nof today\n"
