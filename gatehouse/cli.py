"""The `gatehouse` command."""

import argparse
import difflib
import importlib
import os
import re
import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from gatehouse import dashboards, events, logs, programs, stack
from gatehouse.backup import commands as backups
from gatehouse.doctor import commands as doctors
from gatehouse.kubernetes import commands as clusters
from gatehouse.load import commands as loads
from gatehouse.move import commands as moves
from gatehouse.place import IS_PACKED, ROOT
from gatehouse.upgrade import commands as upgrades
from shared import __version__

if TYPE_CHECKING:  # imported late below: `up` must stay small, since it runs as long as the suite
    from shared.process.settings import ProcessSettings


class Parser(argparse.ArgumentParser):
    """Shows the help if a command is missing, and suggests the nearest word if one is misspelled."""

    def error(self, message: str) -> NoReturn:
        if message.endswith("required: COMMAND"):
            self.print_help()
            self.exit(0)
        wrong, choices = message.partition(" (choose from ")[::2]
        word = wrong.rpartition("invalid choice: ")[2].strip("'\"")
        near = difflib.get_close_matches(word, re.findall(r"[\w-]+", choices), n=1) if choices else []
        super().error(f"{message}\nDid you mean {near[0]!r}?" if near else message)


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(prog="gatehouse", description="Run and maintain a Gatehouse suite.")
    parser.add_argument("--version", action="version", version=f"gatehouse {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    given = sys.argv[1:] if arguments is None else arguments
    known = COMMANDS if given and given[0] in COMMANDS else COMMANDS | _of_programs()
    for name, (command, describe) in known.items():
        described = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        describe(described)
    chosen = parser.parse_args(given)
    command = known[chosen.command][0]
    if IS_PACKED and chosen.command in OF_CHECKOUTS:
        sys.stderr.write(f"`gatehouse {chosen.command}` changes the code, so it needs a checkout of it\n")
        return 2
    try:
        # `up` and `demo` run as long as the suite, so they import no settings.
        # A planning process reports the faults of the settings.
        return command(chosen) if command in (up, demo) else _reporting_faults(command, chosen)
    except KeyboardInterrupt:  # from a long-running command; `up` handles SIGINT itself
        sys.stderr.write("\ninterrupted\n")
        return 128 + signal.SIGINT


def _reporting_faults(command: "Command", arguments: argparse.Namespace) -> int:
    """Run a command that may read settings, and print their faults instead of a traceback."""
    from shared.process.settings import SettingsError, exit_on_bad_settings

    try:
        return command(arguments)
    except SettingsError as error:
        exit_on_bad_settings(error)
        return 2


def _of_programs() -> "Commands":
    """Return the commands that programs contribute, from the tables in their `cli` modules.

    Commands in COMMANDS_WITH_SETTINGS get the settings of their program; those in COMMANDS need none.
    """
    found: Commands = {}
    for name, module in programs.find(ROOT).items():
        if _has_commands(module):
            commands = importlib.import_module(f"{module}.cli")
            found |= getattr(commands, "COMMANDS", {})
            for command, (run, describe) in getattr(commands, "COMMANDS_WITH_SETTINGS", {}).items():
                found[command] = (_with_settings_of(name, run), describe)
    return found


def _with_settings_of(name: str, run: Callable[[argparse.Namespace, "ProcessSettings"], int]) -> "Command":
    @wraps(run)  # the docstring is the command's help
    def command(arguments: argparse.Namespace) -> int:
        program = next(one for one in programs.load(ROOT, os.environ) if one.name == name)
        with programs.environment_of_process(program.environment):  # with the URLs of the other programs
            return run(arguments, type(program.settings).load())

    return command


def _has_commands(module: str) -> bool:
    place = ROOT / module.replace(".", "/")
    return (place / "cli.py").exists() or (place / "cli" / "__init__.py").exists()


def up(arguments: argparse.Namespace) -> int:
    """Start every service and the gateway, each as a separate process."""
    from gatehouse import launcher, plan
    from gatehouse.starting import ByExecution, ByFork, can_fork

    if IS_PACKED:
        sys.stderr.write(f"data: {os.environ.get('DATA_DIR')}\n")
    # With --reload, services are imported after the fork, so that a changed one needs no new fork server.
    imported = [] if arguments.reload else list(programs.find(ROOT).values())
    starter = ByFork(ROOT, imported) if can_fork() else ByExecution()
    try:
        reload_from = ROOT if arguments.reload else None
        return launcher.up(
            plan.read(ROOT), starter, reload_from=reload_from, read_again=lambda: plan.read(ROOT)
        )
    except plan.NoPlan as error:
        return error.code
    finally:
        starter.close()


def demo(arguments: argparse.Namespace) -> int:
    """Start everything with an invented company, in the inventory as well; or fill a running suite."""
    from gatehouse.demo import commands as demos

    if arguments.fill or arguments.remove:
        return _reporting_faults(demos.fill, arguments)
    os.environ["INVENTORY_DEMO"] = "on"
    with demos.beside_the_suite():
        return up(arguments)


def migrate(arguments: argparse.Namespace) -> int:
    """Migrate the databases to the newest version (services do so themselves at startup)."""
    from shared.data.migrate import DatabaseTooNew, MigrationFailed, newest, upgrade
    from shared.process.settings import ServiceSettings

    for program in programs.load(ROOT, os.environ):
        if isinstance(program.settings, ServiceSettings) and arguments.service in (None, program.name):
            migrations = program.settings.migrations()
            try:
                upgrade(program.settings.database_url, migrations)
            except DatabaseTooNew as error:
                sys.stderr.write(f"{program.name}: {error}; run the newer program, or restore a backup.\n")
                return 5
            except MigrationFailed as error:
                sys.stderr.write(f"{program.name}: {error}\n")
                return 5
            sys.stdout.write(f"{program.name}: at {newest(migrations)}\n")
    return 0


def migration(arguments: argparse.Namespace) -> int:
    """Write a service's next migration from the difference between its models and its migrations."""
    from tempfile import TemporaryDirectory

    from shared.data.migrate import write

    models = importlib.import_module(f"services.{arguments.service}.models")
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/empty.db"
        migrations = ROOT / "services" / arguments.service / "migrations"
        file = write(url, migrations, models.Table.metadata, arguments.message)
    sys.stdout.write(f"wrote {file.relative_to(ROOT)}; review it before you use it\n")
    sys.stdout.write("".join(f"{line}\n" for line in _to_mend(file.read_text())))
    return 0


def _to_mend(migration: str) -> Iterator[str]:
    """List what the author has to complete by hand."""
    if migration.endswith("    pass\n"):
        yield "it is empty, because models and migrations agree: fill it by hand, or remove it"
    for line in migration.splitlines():
        if "add_column(" in line and "nullable=False" in line and "server_default" not in line:
            name = line.partition("Column(")[2].partition(",")[0].strip("'\"")
            yield f'existing rows have no {name}: give it a server_default="…", or the migration fails'


def service(arguments: argparse.Namespace) -> int:
    """Create a working service with its tests, route, events and container."""
    from gatehouse import compose, new_service

    try:
        files = new_service.create(ROOT, arguments.name, arguments.thing)
    except (new_service.NotPossible, compose.NotDrawn) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("".join(f"wrote {file.relative_to(ROOT)}\n" for file in files))
    sys.stdout.write("to try it, stop a running suite, then run make up and make test; ")
    sys.stdout.write("then adapt it (docs/services.md)\n")
    return 0


def draw_containers(_arguments: argparse.Namespace) -> int:
    """Generate the parts of docker-compose.yml that repeat for every service."""
    from gatehouse import compose

    try:
        changed = compose.write(ROOT)
    except compose.NotDrawn as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("".join(f"wrote {file.relative_to(ROOT)}\n" for file in changed))
    return 0


def env(arguments: argparse.Namespace) -> int:
    """Write .env with fresh random secrets for docker-compose; add secrets that an existing file lacks."""
    if arguments.certificate:
        _write_certificate(Path("tls"), arguments.certificate)
    file = Path(arguments.file)
    template = (ROOT / "deploy" / "env.template").read_text()
    lines = [line.replace("<secret>", secrets.token_hex(32)) for line in template.splitlines()]
    if file.exists():
        return _add_secrets(file, lines)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        sys.stderr.write(f"{file}: cannot be written ({error.strerror})\n")
        return 1
    with os.fdopen(descriptor, "w") as handle:
        handle.write("\n".join([*lines, ""]))
    sys.stdout.write(f"wrote {file} with fresh secrets\n")
    return 0


def _write_certificate(folder: Path, name: str) -> None:
    from gatehouse.certificate import DAYS, write_pair

    if write_pair(folder, name):
        sys.stdout.write(
            f"wrote {folder}/cert.pem and {folder}/key.pem for {name}, self-signed, for {DAYS} days\n"
        )
    else:
        sys.stdout.write(f"{folder} has a certificate already, which is unchanged\n")


def _add_secrets(file: Path, lines: list[str]) -> int:
    before = file.read_text()
    known = {line.partition("=")[0] for line in before.splitlines()}
    missing = [line for line in lines if "=" in line and not line.startswith("#")]
    missing = [line for line in missing if line.partition("=")[0] not in known]
    if not missing:
        sys.stdout.write(f"{file} exists already and is unchanged\n")
        return 0
    with file.open("a") as handle:
        handle.write("" if before.endswith("\n") else "\n")
        handle.writelines(f"{line}\n" for line in missing)
    sys.stdout.write(f"added {', '.join(line.partition('=')[0] for line in missing)} to {file}\n")
    return 0


def _services() -> list[str]:
    return [name for name in programs.find(ROOT) if name != programs.GATEWAY]


def _no_options(_parser: argparse.ArgumentParser) -> None:
    """Add no options."""


def _reload(parser: argparse.ArgumentParser) -> None:
    text = "restart changed services, for development"
    parser.add_argument("--reload", action="store_true", help=text)


def _demo(parser: argparse.ArgumentParser) -> None:
    _reload(parser)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--fill", action="store_true", help="fill the running suite with what is missing")
    instead.add_argument("--remove", action="store_true", help="remove the company from the running suite")
    parser.add_argument("--wait", action="store_true", help="with --fill: wait until the suite is ready")


def _one_service(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "service",
        nargs="?",
        choices=_services(),
        metavar="service",
        help=f"only this one: {', '.join(_services())}",
    )


def _service_and_message(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("service", choices=_services(), metavar="service", help=", ".join(_services()))
    parser.add_argument("message", help="what it does, for example: add_orders_note")


def _name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="name of the service, and of its folder, path and database")
    text = "what the service stores, in the singular, for example: invoice (default: entry)"
    parser.add_argument("--thing", default="entry", help=text)


def _file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--file", default=".env", help="where to write (default: .env)")
    text = "also write a self-signed certificate for this name to ./tls, for trying HTTPS"
    parser.add_argument("--certificate", metavar="NAME", help=text)


OF_CHECKOUTS = {"migration", "service", "compose", "dashboards"}
Command = Callable[[argparse.Namespace], int]
Commands = dict[str, tuple[Command, Callable[[argparse.ArgumentParser], None]]]
COMMANDS: Commands = {
    "up": (up, _reload),
    "demo": (demo, _demo),
    "migrate": (migrate, _one_service),
    "migration": (migration, _service_and_message),
    "service": (service, _name),
    "compose": (draw_containers, _no_options),
    "kubernetes": (clusters.kubernetes, clusters.describe),
    "stack": (stack.stack, stack.describe),
    "env": (env, _file),
    "events": (events.events, events.describe),
    "backup": (backups.backup, backups.describe_backup),
    "restore": (backups.restore, backups.describe_restore),
    "move": (moves.move, moves.describe),
    "upgrade": (upgrades.upgrade, upgrades.describe),
    "doctor": (doctors.doctor, doctors.describe),
    "dashboards": (dashboards.dashboards, _no_options),
    "logs": (logs.logs, logs.describe),
    "load": (loads.load, loads.describe),
}
