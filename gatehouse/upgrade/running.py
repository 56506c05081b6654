"""The steps of an upgrade: doctor, backup, migrate, roll, verify; and the way back."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatehouse.alone import FileLock
from gatehouse.backup import NotDone, parts
from gatehouse.backup.commands import passphrase_or_consent
from gatehouse.backup.parts import Part
from gatehouse.doctor import network
from gatehouse.programs import GATEWAY, Program
from gatehouse.upgrade import NotUpgraded, code, plan, rolling
from gatehouse.upgrade.journal import Journal
from gatehouse.upgrade.plan import UNCHANGED, Database
from gatehouse.upgrade.rolling import Roller
from shared.data.migrate import MigrationFailed, reach_of, step_back, upgrade
from shared.data.reach import NotReadable

READY_SECONDS = 60.0
LOOK_SECONDS = 0.2
MIB = 1 << 20

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the operator chose."""

    root: Path
    roll: str | None  # the operator's command
    backup_to: Path
    without_secrets: bool  # in the backup
    say: Say


class Upgrade:
    """One upgrade of the suite whose settings are in the environment."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted, self._say = wanted, wanted.say
        self._loaded: list[Program] = plan.load(wanted.root)
        try:
            self._parts: list[Part] = parts.of_suite(wanted.root)
        except NotDone as error:
            raise NotUpgraded(f"{error}. {UNCHANGED}") from None
        self.data_dir = self._loaded[0].settings.data_dir
        self._databases: list[Database] = []
        self._roller: Roller = rolling.of_suite(self.data_dir, wanted.roll)
        self.journal = Journal(self.data_dir / "upgrade.json")

    def prepare(self) -> dict[str, Any]:
        """Look up everything and refuse what would lose something; return the plan."""
        self._databases = plan.databases(self._parts)
        if faults := plan.faults(self._wanted.root, self._loaded, self._databases):
            lines = "".join(f"\n  {one.check}: {one.says}. {one.remedy}" for one in faults)
            raise NotUpgraded(f"the doctor finds faults, which must be corrected first. {UNCHANGED}{lines}")
        self._continue_or_begin()
        plan.refuse_what_breaks_running_programs(self._databases, self.journal.before)
        size = free = 0
        if not self.journal.backup:
            self._refuse_open_secrets()
            size = plan.bytes_to_back_up(self._with_data(), plan.bytes_on_server)
            free = plan.refuse_full_disk(self._wanted.backup_to, size)
        return {
            "services": {one.name: {"from": one.version, "to": one.newest} for one in self._databases},
            "backup": {"folder": str(self._wanted.backup_to), "bytes_max": size, "free": free},
            "roll": [name for name in plan.in_order(self._loaded) if name not in self.journal.rolled],
            "roll_by": self._roller.about,
        }

    def _refuse_open_secrets(self) -> None:
        """The backup would refuse them too, but only after the plan was shown."""
        try:
            passphrase_or_consent(without_secrets=self._wanted.without_secrets)
        except NotDone as error:
            raise NotUpgraded(f"{error}. {UNCHANGED}") from None

    def lines(self, about: dict[str, Any]) -> list[str]:
        """Return the plan for people."""
        space = about["backup"]
        kept = f"backup: {self.journal.backup} of the interrupted upgrade"
        taken = (
            f"backup: into {space['folder']}, at most {space['bytes_max'] / MIB:,.0f} MiB; "
            f"{space['free'] / MIB:,.0f} MiB are free"
        )
        return [
            "doctor: no faults",
            kept if self.journal.backup else taken,
            *(f"migrate {one.line}" for one in self._databases),
            f"roll: {', '.join(about['roll']) or 'nothing is left'}: {self._roller.about}",
            "the way back: gatehouse upgrade --back, then the former code; every migration expands",
        ]

    def _continue_or_begin(self) -> None:
        """Continue an interrupted upgrade: programs from before it may still run."""
        before = {one.name: one.version for one in self._databases}
        after = {one.name: one.newest for one in self._databases}
        new = Journal(self.journal.file, before, after, code=code.identity(self._wanted.root))
        self.journal, former = new, Journal.of(self.data_dir)
        if former is None:
            return
        is_same = (former.code, former.after) == (new.code, after)
        if former.is_finished and not is_same and not former.is_undone:
            return
        # The way back stays the same, unless other code has migrated a database since.
        overtaken = {name for name in before if (before[name] or "") > (former.after.get(name) or "")}
        new.before |= {
            name: former.before[name] for name in (before.keys() & former.before.keys()) - overtaken
        }
        if former.is_finished:
            return
        if not overtaken and Path(former.backup or "/nowhere").is_file():
            new.backup = former.backup
        new.rolled = former.rolled if is_same else []
        self._say(
            f"an upgrade to {'this' if is_same else 'other'} code was interrupted; this one continues it"
        )

    def _with_data(self) -> list[Part]:
        filled = {one.name for one in self._databases if one.version is not None}
        return [part for part in self._parts if part.name in filled]

    def run(self) -> dict[str, Any]:
        """Carry out all steps that are left; return what was done."""
        began = time.monotonic()
        self.journal.write()
        if not self.journal.backup and self._with_data():
            self.journal.backup = self._backed_up()
            self.journal.write()
        self._migrate()
        self._roll()
        running = self._verify()
        self.journal.is_finished = True
        self.journal.write()
        return {
            "services": {
                name: {"from": self.journal.before[name], "to": self.journal.after[name]}
                for name in self.journal.after
            },
            "backup": self.journal.backup,
            "rolled": self.journal.rolled,
            "running": running,
            "seconds": round(time.monotonic() - began, 1),
        }

    def _backed_up(self) -> str:
        self._say("backup")
        command = [sys.executable, "-m", "gatehouse", "backup", "--json", "--to", str(self._wanted.backup_to)]
        command.append("--without-buckets")  # no migration changes their content, which the disk may not hold
        chosen = [part.name for part in self._with_data()]
        some = (
            []
            if len(chosen) == len(self._parts)
            else [word for name in chosen for word in ("--service", name)]
        )
        done = subprocess.run(  # noqa: S603 - our own
            [*command, *some, *(["--without-secrets"] if self._wanted.without_secrets else [])],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=False,
        )
        if done.returncode != 0:
            raise NotUpgraded(f"no backup could be taken, see above. {UNCHANGED}")
        return str(Path(json.loads(done.stdout)["path"]).absolute())

    def _migrate(self) -> None:
        for one in self._databases:
            self._say(f"migrate {one.line}")
            try:
                upgrade(one.url, one.migrations)
            except MigrationFailed as error:
                raise NotUpgraded(
                    f"{one.name}: {error} The migrations that were done only expand, so the running programs "
                    "work as before. Run the same command again to continue."
                ) from None

    def _roll(self) -> None:
        left = [name for name in plan.in_order(self._loaded) if name not in self.journal.rolled]
        self._say(f"roll {', '.join(left)}: {self._roller.about}")

        def done(name: str) -> None:
            self.journal.rolled.append(name)
            self.journal.write()
            self._say(f"{name} runs the new code")

        try:
            self._roller.replace(left, done)
        except NotUpgraded as error:
            raise NotUpgraded(
                f"{error}. Old and new programs work side by side, so nothing is lost. Correct the cause and "
                "run the same command again to continue, or go back with `gatehouse upgrade --back`."
            ) from None

    def _verify(self) -> list[str]:
        """Check the versions, and that every program that runs here is ready; return those that do."""
        for one in self._databases:
            if (reach_of(one.url).version or "") < (one.newest or ""):
                raise NotUpgraded(f"the database of {one.name} is not at {one.newest} after the upgrade")
        running = [one for one in self._loaded if network.is_open(one)]
        for program in running:
            self._wait_until_ready(program)
        self._say(f"verified: {', '.join(one.name for one in running) or 'no program runs here'}")
        return [one.name for one in running]

    def _wait_until_ready(self, program: Program) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            found = list(network.port(program))
            if all(one.state != "fault" for one in found):
                return
            if time.monotonic() > deadline:
                raise NotUpgraded(f"{program.name} is not ready: {found[0].says}. {found[0].remedy}")
            time.sleep(LOOK_SECONDS)


@contextmanager
def alone_in(data_dir: Path) -> Iterator[None]:
    """Let no second upgrade, and no way back, run beside this one."""
    lock = FileLock(data_dir / "upgrade.lock")
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        is_ours = lock.acquire()
    except OSError as error:
        raise NotUpgraded(f"{data_dir} cannot be written ({error.strerror}). {UNCHANGED}") from None
    if not is_ours:
        raise NotUpgraded(f"another upgrade of the suite is running; wait for its end. {UNCHANGED}")
    try:
        yield
    finally:
        lock.release()


def go_back(wanted: Wanted) -> dict[str, Any]:
    """Let the code from before the last upgrade use the databases as they are; no data is changed."""
    loaded = plan.load(wanted.root)
    with alone_in(loaded[0].settings.data_dir):
        return _gone_back(wanted, loaded)


def _gone_back(wanted: Wanted, loaded: list[Program]) -> dict[str, Any]:
    known = {part.name: part for part in parts.of_suite(wanted.root)}
    journal = Journal.of(loaded[0].settings.data_dir)
    if journal is None:
        raise NotUpgraded(f"no upgrade is known here, so there is no way back. {UNCHANGED}")
    former = {name: version for name, version in journal.before.items() if version and name in known}
    for name, version in former.items():
        if not reach_of(known[name].url).is_readable_by(version):
            raise NotUpgraded(
                f"the database of {name} has migrations since {version} that the former code cannot use. "
                "The way back is the backup, which lacks what was stored since: stop the suite and run "
                f"`gatehouse restore {journal.backup} --replace` with the former code. {UNCHANGED}"
            )
    for name, version in former.items():
        try:
            step_back(known[name].url, known[name].migrations, version)
        except NotReadable as error:
            raise NotUpgraded(f"{name}: {error}; run the same command again") from None
        wanted.say(f"{name}: programs that know {version} can use its database")
    # The next upgrade begins anew, also if not every program can be replaced now.
    journal.rolled, journal.is_finished, journal.is_undone = [], True, True
    journal.write()
    new = [name for name in journal.after if journal.before.get(name) is None]
    # The gateways first: they must not offer what old services lack. Then senders before their receivers.
    names = [GATEWAY, *reversed(plan.receivers_first(sorted(former)))]
    roller = rolling.of_suite(loaded[0].settings.data_dir, wanted.roll)
    if isinstance(roller, rolling.ByCommand):  # the launcher would start this code, not the former
        roller.replace(names, lambda name: wanted.say(f"{name} runs the former code"))
    return {"services": former, "stop": new, "backup": journal.backup}
