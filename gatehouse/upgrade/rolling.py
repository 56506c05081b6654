"""Replaces the running programs by those of the new code, one after another."""

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from gatehouse import control
from gatehouse.upgrade import NotUpgraded


class Roller(Protocol):
    """What replaces programs here."""

    about: str  # for the plan

    def replace(self, names: list[str], done: Callable[[str], None]) -> None:
        """Replace the programs in this order, and report each; NotUpgraded if one does not start."""


class ByCommand:
    """Runs a command for each program; it returns once the new processes serve."""

    def __init__(self, command: str) -> None:
        self._words = shlex.split(command)
        if not self._words:
            raise NotUpgraded("--roll needs a command, such as './replace.sh {}'")
        self.about = f"by `{command}`, for one program after another"

    def replace(self, names: list[str], done: Callable[[str], None]) -> None:
        for name in names:
            words = [word.replace("{}", name) for word in self._words]
            try:
                ended = subprocess.run(words, stdin=subprocess.DEVNULL, check=False)  # noqa: S603 - the operator's
            except OSError as error:
                raise NotUpgraded(f"`{shlex.join(words)}` cannot be run ({error.strerror})") from None
            if ended.returncode != 0:
                raise NotUpgraded(f"`{shlex.join(words)}` ended with exit code {ended.returncode}")
            done(name)


class ByLauncher:
    """Asks the running `gatehouse up`."""

    about = "by the `gatehouse up` that runs"

    def __init__(self, path: Path) -> None:
        self._path = path

    def replace(self, names: list[str], done: Callable[[str], None]) -> None:
        try:
            for name in control.ask(self._path, names):
                done(name)
        except (control.NotReplaced, OSError) as error:
            raise NotUpgraded(str(error) or type(error).__name__) from None


class ByNobody:
    """Where nothing replaces programs: the operator starts them."""

    def __init__(self, reason: str) -> None:
        self.about = reason

    def replace(self, names: list[str], done: Callable[[str], None]) -> None:
        """Replace nothing."""


def of_suite(data_dir: Path, command: str | None) -> Roller:
    """Return what replaces programs: the operator's command, else the launcher if one runs."""
    if command is not None:
        return ByCommand(command)
    path = control.path_in(data_dir)
    channel = control.connected(path)
    if channel is None:
        return ByNobody("you start the new code yourself; --roll COMMAND does it for each program")
    channel.close()
    return ByLauncher(path)
