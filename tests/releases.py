"""The code of the last release, from the history of this repository."""

import os
import re
import subprocess
from fnmatch import fnmatch
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent


def last_release() -> str:
    """Return the heading of the newest released version in CHANGELOG.md: `0.2.0 - 2026-11-27`."""
    headings = re.findall(r"^## (\d.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    return str(headings[0])


def commit_of_last_release() -> str:
    """Return the commit that gave the version its date. Without .git, skip."""
    if not (ROOT / ".git").exists():
        pytest.skip("this copy of the code has no history")
    if _git("rev-parse", "--is-shallow-repository") != "false":
        _do_without("the history is cut off: check it out whole, with fetch-depth: 0")
    heading = f"## {last_release()}"
    found = _git("log", "--reverse", "--format=%H", f"-S{heading}", "--", "CHANGELOG.md").split()
    if not found:
        _do_without(f"no commit of the history writes {heading!r}")
    return found[0]


def files_of_last_release(pattern: str) -> set[str]:
    listed = _git("ls-tree", "-r", "--name-only", commit_of_last_release()).splitlines()
    return {name for name in listed if fnmatch(name, pattern)}


def unpack_last_release(folder: Path) -> Path:
    """Write the code of the last release to the folder."""
    commit = commit_of_last_release()
    folder.mkdir(parents=True)
    archive = folder.with_suffix(".tar")
    _git("archive", f"--output={archive}", commit)
    subprocess.run(["tar", "-x", "-C", str(folder), "-f", str(archive)], check=True)
    return folder


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def _do_without(reason: str) -> NoReturn:
    """Skip, but fail in CI, where nobody would notice that the tests were skipped."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
