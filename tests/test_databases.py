"""A migrated database is made once for all workers of a run."""

from pathlib import Path

import pytest

from tests import databases


def test_workers_take_what_another_worker_has_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "_exchange", [])
    made: list[str] = []

    def make() -> bytes:
        made.append("x")
        return b"migrated"

    databases.exchange_in(tmp_path / "migrated")
    databases.exchange_in(tmp_path / "migrated")  # another worker
    assert [databases._made_once("sqlite orders", make) for _ in range(3)] == [b"migrated"] * 3
    assert made == ["x"]
    assert databases._made_once("sqlite users", make) == b"migrated"
    assert made == ["x", "x"]


def test_a_worker_that_fails_leaves_the_work_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> bytes:
        raise KeyError("no server")

    monkeypatch.setattr(databases, "_exchange", [tmp_path])
    with pytest.raises(KeyError, match="no server"):
        databases._made_once("sqlite orders", fail)

    assert databases._made_once("sqlite orders", lambda: b"migrated") == b"migrated"
