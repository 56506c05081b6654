"""What an upgrade will do, and whether it may: looked up without changing anything."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from gatehouse import catalogue, programs
from gatehouse.backup.parts import Part, walk
from gatehouse.doctor import commands as doctor
from gatehouse.programs import GATEWAY, Program
from gatehouse.upgrade import NotUpgraded
from shared.data.migrate import contracting, newest, reach_of
from shared.data.reach import Reach
from shared.process.checkup import Finding

UNCHANGED = "Nothing was changed."
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Database:
    """The database of one service, before the upgrade."""

    name: str
    url: str
    migrations: Path
    version: str | None  # None: empty, so the service is new
    newest: str | None

    @property
    def is_behind(self) -> bool:
        """Whether there is something to migrate. Newer code that was tried before may have been ahead."""
        return (self.version or "") < (self.newest or "")

    @property
    def line(self) -> str:
        if not self.is_behind:
            return f"{self.name}: at {self.version} already"
        number = sum(file.name[:4] > (self.version or "") for file in self.migrations.glob("[0-9]*_*.py"))
        before = self.version or "an empty database"
        return f"{self.name}: from {before} to {self.newest}, {number} migrations"


def databases(parts: Sequence[Part]) -> list[Database]:
    """Look up the versions; NotUpgraded if a database is newer than this program, or cannot be read."""
    found = []
    for part in parts:
        file = make_url(part.url).database if part.url.startswith("sqlite") else None
        try:
            exists = file is None or Path(file).exists()
            reach = reach_of(part.url) if exists else Reach()
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
            raise NotUpgraded(f"the database of {part.name} cannot be read: {reason}. {UNCHANGED}") from None
        version, known = reach.version, newest(part.migrations)
        if version is not None and version > (known or "") and not reach.is_readable_by(known):
            raise NotUpgraded(
                f"the database of {part.name} is at {version}, and this code, which knows only {known}, "
                f"cannot use it. Run newer code, or restore a backup. {UNCHANGED}"
            )
        found.append(Database(part.name, part.url, part.migrations, version, known))
    return found


def refuse_what_breaks_running_programs(found: Sequence[Database], before: Mapping[str, str | None]) -> None:
    """Refuse for programs from before the upgrade, whose databases an interrupted one may have migrated."""
    breaking = {one.name: contracting(one.migrations, before[one.name] or one.version) for one in found}
    named = ", ".join(f"{name} {file}" for name, files in breaking.items() for file in files)
    if named:
        raise NotUpgraded(
            f"the programs that run now still use what these migrations remove: {named}. Upgrade to a "
            "release in between first. Or stop the suite, take a backup, run `gatehouse migrate` and start "
            f"this code. {UNCHANGED}"
        )


def faults(root: Path, loaded: Sequence[Program], databases: Sequence[Database]) -> list[Finding]:
    """Return what the doctor says must be corrected.

    The age of backups does not matter: one is taken now. The checks of a service read its tables as this
    code knows them, so they wait until these are migrated.
    """
    left_out = {"backups", *(one.name for one in databases if one.is_behind)}
    checks = doctor.all_checks(root, loaded, [], is_quick=True)
    found = doctor.findings((name, check) for name, check in checks if name not in left_out)
    return [one for one in found if one.state == "fault"]


def bytes_to_back_up(parts: Sequence[Part], ask: Callable[[str], int]) -> int:
    """Return how large a backup can become at most: what is compressed is counted as it is."""
    return sum(_bytes_of_database(part.url, ask) for part in parts) + sum(
        entry.stat(follow_symlinks=False).st_size
        for part in parts
        for stored in part.folders
        if stored.path.is_dir()
        for _, entry in walk(stored.path, lambda _: None)
        if entry.is_file(follow_symlinks=False)
    )


def _bytes_of_database(url: str, ask: Callable[[str], int]) -> int:
    if not url.startswith("sqlite"):
        return ask(url)
    file = Path(make_url(url).database or "")
    return sum(part.stat().st_size for part in (file, Path(f"{file}-wal")) if part.exists())


def bytes_on_server(url: str) -> int:
    from gatehouse.doctor.databases import connected

    with connected(url) as connection:
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    return int(row[0]) if row else 0


def refuse_full_disk(folder: Path, needed: int) -> int:
    """Return the free bytes for the backup, or refuse to begin."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise NotUpgraded(
            f"the backup may need {needed / MIB:,.0f} MiB, but {place} has only {free / MIB:,.0f} MiB free. "
            f"Free some space, or choose another folder with --backup-to. {UNCHANGED}"
        )
    return free


def in_order(loaded: Sequence[Program]) -> Iterator[str]:
    """Yield the programs in the order in which they are replaced: the gateways last.

    A new gateway in front of old services could offer what these lack.
    """
    yield from receivers_first(program.name for program in loaded if program.name != GATEWAY)
    yield from (program.name for program in loaded if program.name == GATEWAY)


def receivers_first(services: Iterable[str]) -> list[str]:
    """Return the services so that each receives the new events before another sends them.

    A service drops an event whose topic it does not know. If two services send events to each other, no
    order is right for both. Then the service with fewer receivers comes first.
    """
    receivers = _receivers()
    left, found = list(services), []
    while left:
        found.append(min(left, key=lambda one: len(receivers.get(one, set()).intersection(left) - {one})))
        left.remove(found[-1])
    return found


def _receivers() -> dict[str, set[str]]:
    """Return who receives the events that only this service sends."""
    found: dict[str, set[str]] = {}
    for kind in catalogue.kinds():
        if kind.source is not None:
            found.setdefault(kind.source, set()).update(catalogue.receivers(kind))
    return found


def load(root: Path, environment: Mapping[str, str] = os.environ) -> list[Program]:
    return programs.load(root, environment)
