"""A shell of the holder, without its service."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.terminal.holder.shell import Shell
from tests import support


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    config: dict[str, Any] = {
        "rows": 24,
        "columns": 80,
        "argv": ["/bin/sh", "-c", "exit 0"],
        "environment": {},
        "directory": str(tmp_path),
    }
    opened = Shell(config)
    yield opened
    os.close(opened.master)


def has_ended(shell: Shell) -> bool:
    shell.reap()
    return shell.status is not None


def test_pid_of_a_reaped_shell_is_not_signalled_once_another_program_has_it(shell: Shell) -> None:
    assert support.eventually(lambda: has_ended(shell), seconds=10)
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    with other:
        shell.pid = other.pid  # as if the system had given the number away
        for act in (shell.hang_up, shell.kill, lambda: shell.signal(signal.SIGKILL)):
            act()
        assert not shell.has_jobs()
        other.communicate(b"\n")
    assert other.returncode == 0
