"""In CI, tests of the last release fail instead of being skipped if the history lacks it."""

import re
from pathlib import Path

import pytest

from tests import releases


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout that CI made, whose history contains no release."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "CHANGELOG.md").write_text("## Unreleased\n\n## 0.2.0 - 2026-11-27\n")
    monkeypatch.setattr(releases, "ROOT", tmp_path)
    monkeypatch.setattr(releases, "_git", lambda *words: "false" if "rev-parse" in words else "")
    monkeypatch.setenv("CI", "true")
    return tmp_path


@pytest.fixture
def shallow(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(releases, "_git", lambda *_words: "true")
    return checkout


def outcome() -> str:
    """Return what becomes of the test: a skip that only ended this test would look like a success."""
    with pytest.raises((pytest.fail.Exception, pytest.skip.Exception)) as ended:
        releases.commit_of_last_release()
    return f"{type(ended.value).__name__}: {ended.value}"


@pytest.mark.usefixtures("shallow")
def test_shallow_checkout_fails_in_ci() -> None:
    assert re.match("Failed: .*fetch-depth: 0", outcome())


@pytest.mark.usefixtures("shallow")
def test_shallow_checkout_skips_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI")
    assert re.match("Skipped: .*fetch-depth: 0", outcome())


@pytest.mark.usefixtures("checkout")
def test_history_without_the_release_fails_in_ci() -> None:
    assert re.match("Failed: .*no commit of the history writes", outcome())


def test_source_archive_skips_in_ci(checkout: Path) -> None:
    (checkout / ".git").rmdir()
    assert re.match("Skipped: .*no history", outcome())


@pytest.mark.parametrize("name", ["test", "prove"])
def test_ci_checks_out_the_whole_history(name: str) -> None:
    workflow = (releases.ROOT / ".github" / "workflows" / f"{name}.yml").read_text()
    assert workflow.count("actions/checkout") == workflow.count("with: {fetch-depth: 0}") == 1
