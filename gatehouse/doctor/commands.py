"""`gatehouse doctor`."""

import argparse
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gatehouse import programs
from gatehouse.place import ROOT
from gatehouse.programs import GATEWAY

if TYPE_CHECKING:
    from gatehouse.programs import Program
    from shared.process.checkup import Check, Finding

AT_ONCE = 8
MARKS = {"good": "✓", "warning": "!", "fault": "✗"}
COLOURS = {"good": "32", "warning": "33", "fault": "31"}


def doctor(arguments: argparse.Namespace) -> int:
    """Check the machine, the settings and every server; exit code 1 if something must be corrected."""
    from shared.process.settings import SettingsFaults

    loaded: Sequence[Program] = []
    faults: Sequence[str] = []
    try:
        loaded = programs.load(ROOT, os.environ)
    except SettingsFaults as error:
        faults = error.faults
    found = list(findings(all_checks(ROOT, loaded, faults, is_quick=arguments.quick)))
    if arguments.json:
        sys.stdout.write(f"{json.dumps([asdict(one) for one in found], ensure_ascii=False)}\n")
    else:
        sys.stdout.write("".join(f"{line(one, is_coloured=sys.stdout.isatty())}\n" for one in found))
        sys.stdout.write(f"{summary(found)}\n")
    return 1 if any(one.state == "fault" for one in found) else 0


def describe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    text = "leave out PRAGMA quick_check, which reads the whole of every SQLite database"
    parser.add_argument("--quick", action="store_true", help=text)


def line(finding: "Finding", *, is_coloured: bool) -> str:
    mark = MARKS[finding.state]
    mark = f"\x1b[{COLOURS[finding.state]}m{mark}\x1b[0m" if is_coloured else mark
    if finding.state == "good":
        return f"{mark} {finding.check}: {finding.says}"
    return f"{mark} {finding.check}: {finding.says}. {finding.remedy}"


def summary(found: Sequence["Finding"]) -> str:
    number = {state: sum(one.state == state for one in found) for state in MARKS}
    return f"{number['good']} good, {number['warning']} warnings, {number['fault']} to be corrected"


def findings(checks: Iterable[tuple[str, "Check"]]) -> Iterator["Finding"]:
    """Carry out the checks side by side, because many wait for other servers; yield them in their order."""
    from shared.process.checkup import carried_out

    with ThreadPoolExecutor(AT_ONCE) as threads:
        waiting = [threads.submit(lambda one: [*carried_out(*one)], check) for check in checks]
        for future in waiting:
            yield from future.result()


def all_checks(
    root: Path, loaded: Sequence["Program"], faults: Sequence[str], *, is_quick: bool
) -> Iterator[tuple[str, "Check"]]:
    """Yield every check with its name; those that need valid settings only if they are valid."""
    from gatehouse.doctor import configuration, machine, network, servers
    from shared.process.backups import FOLDER

    yield "Python", machine.python
    yield "packages", partial(machine.packages, root / "requirements.lock")
    yield "settings", partial(configuration.settings, faults)
    yield "secrets", partial(configuration.placeholders, dict(os.environ), root / ".env")
    if not loaded:
        return
    yield "settings", partial(configuration.without_effect, loaded, dict(os.environ))
    yield "environment", partial(configuration.environment_name, loaded)
    private = configuration.private_files(root, loaded)
    yield "file modes", partial(configuration.file_modes, private)
    for program in loaded:
        yield f"{program.name} port", partial(network.port, program)
    for (host, number), (variable, scheme) in network.addresses(loaded).items():
        yield variable, partial(network.reachable, host, number, variable, scheme)
    yield from _of_databases(loaded, is_quick=is_quick)
    for url in sorted(_redis_urls(loaded)):
        yield "Redis", partial(servers.redis, url)
    yield "data disk", partial(machine.disk, "data disk", loaded[0].settings.data_dir)
    folder = Path(os.environ.get("BACKUP_DIR") or FOLDER)
    yield "backup disk", partial(machine.disk, "backup disk", folder)
    is_production = loaded[0].settings.environment == "production"
    when = {
        "schedule": os.environ.get("BACKUP_SCHEDULE", ""),
        "zone": os.environ.get("BACKUP_TIME_ZONE") or "UTC",
    }
    yield "backups", partial(servers.backups, folder, is_production=is_production, **when)
    clients = next((getattr(one.settings, "connections_max", 0) for one in loaded if one.name == GATEWAY), 0)
    yield "open files", partial(machine.open_files, clients)
    yield from _of_programs(loaded)


def _of_databases(loaded: Sequence["Program"], *, is_quick: bool) -> Iterator[tuple[str, "Check"]]:
    from sqlalchemy.engine import make_url

    from gatehouse.doctor import databases
    from shared.data.postgresql import server_of
    from shared.process.settings import ServiceSettings

    servers: dict[tuple[str, str], list[ServiceSettings]] = {}
    for program in loaded:
        if not isinstance(program.settings, ServiceSettings):
            continue
        check = partial(databases.database, program.settings, is_quick=is_quick)
        yield f"{program.name} database", check
        if program.settings.sqlite_file() is None:
            server = server_of(make_url(program.settings.database_url))
            servers.setdefault(server, []).append(program.settings)
    for services in servers.values():
        yield "PostgreSQL", partial(databases.connections, services[0].database_url, services)


def _redis_urls(loaded: Sequence["Program"]) -> set[str]:
    found = (getattr(program.settings, "redis_url", None) for program in loaded)
    return {url.get_secret_value() for url in found if url is not None}


def _of_programs(loaded: Sequence["Program"]) -> Iterator[tuple[str, "Check"]]:
    """Yield the checks that programs add in their `checkup` modules."""
    for program in loaded:
        name = f"{program.module}.checkup"
        if importlib.util.find_spec(name) is not None:
            yield program.name, partial(importlib.import_module(name).checks, program.settings)
