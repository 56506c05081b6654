"""What `gatehouse up` starts. The settings are read in another process, which keeps the launcher small."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self, TypeVar


class NoPlan(Exception):
    """The settings are invalid; the process that read them has printed the reason."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the settings could not be read (exit code {code})")
        self.code = code


@dataclass(frozen=True, slots=True)
class Planned:
    """One program to start: the facts that the launcher needs, without the settings object."""

    name: str
    module: str
    environment: Mapping[str, str]
    host: str
    port: int
    log_format: str = "auto"
    notice: str | None = None  # printed once everything is ready
    alone: bool = False  # its successor starts after it has ended

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Logging:
    """Where the launcher's own output goes, and in which format."""

    format: str
    file: str | None
    file_bytes_max: int
    files_kept: int


@dataclass(frozen=True, slots=True)
class Backups:
    """When backups are taken, as cron writes it; which of them are kept, and whose clock counts."""

    schedule: str = ""  # empty: never
    keep: str = ""
    zone: str = "UTC"


_Part = TypeVar("_Part", Planned, Logging, Backups)


@dataclass(frozen=True, slots=True)
class Plan:
    """The programs in the order of their start, and what to report about the settings."""

    programs: Sequence[Planned]
    notices: Sequence[str]
    logging: Logging
    backups: Backups = Backups()
    control: str = ""  # the socket on which `gatehouse upgrade` finds the launcher

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the plan of another release, too: without what only that one knows, and with our defaults."""
        read = json.loads(text)
        programs = [_known(Planned, program) for program in read["programs"]]
        backups, control = _known(Backups, read.get("backups", {})), read.get("control", "")
        return cls(programs, read["notices"], _known(Logging, read["logging"]), backups, control)


def _known(kind: type[_Part], given: Mapping[str, Any]) -> _Part:
    names = {field.name for field in fields(kind)}
    return kind(**{name: value for name, value in given.items() if name in names})


def read(root: Path) -> Plan:
    """Return the plan for the programs below `root`; NoPlan if the settings are invalid."""
    done = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-m", "gatehouse.planning", str(root)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches only us, so that it leaves no traceback
        check=False,
    )
    if done.returncode != 0:
        raise NoPlan(done.returncode)
    return Plan.from_json(done.stdout.decode())
