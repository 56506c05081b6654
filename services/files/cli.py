"""`gatehouse files …`: maintenance of stored content."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

GOOD, FAULTY, UNREADABLE = range(3)
PREFIX = "FILES_"


def files(arguments: argparse.Namespace) -> int:
    """Verify the stored content of files."""
    chosen: Callable[[argparse.Namespace], int] = arguments.files_command
    return chosen(arguments)


def describe(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    described = commands.add_parser("verify", help=verify.__doc__, description=verify.__doc__)
    described.set_defaults(files_command=verify)


def verify(_arguments: argparse.Namespace) -> int:
    """Read all content and report missing, changed or orphaned content; exit code 0 if there is none."""
    from services.files.settings import Settings
    from services.files.storage.blob_store import make_store
    from services.files.storage.verification import Progress, check
    from shared.data.database import Database

    _take_own_variables()
    settings = Settings.load()
    obstacle = _obstacle(settings.database_url)
    if obstacle is not None:
        sys.stderr.write(f"{obstacle}\n")
        return UNREADABLE
    database, store = Database(settings.database_url, pool_size=1), make_store(settings)
    try:
        findings = check(database, store, Progress(sys.stderr))
    finally:
        store.close()
        database.close()
    for fault in findings.faults:
        sys.stdout.write(f"{fault}\n")
    files, faults = _counted(findings.files, "file"), _counted(len(findings.faults), "fault")
    sys.stdout.write(f"{files}, {_counted(findings.bytes, 'byte')}: {faults}\n")
    return FAULTY if findings.faults else GOOD


def _counted(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def _obstacle(database_url: str) -> str | None:
    """Return why the database cannot be read, if so; a missing database is not created."""
    from sqlalchemy import inspect, make_url
    from sqlalchemy.exc import OperationalError

    from services.files.models import FILES
    from shared.data.database import Database
    from shared.process.settings import mask

    url = make_url(database_url)
    remedy = "start the service, or run `gatehouse migrate files`"
    nothing = f"{mask(database_url)} has no tables yet: {remedy}"
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return nothing
    database = Database(database_url, pool_size=1)
    try:
        return None if inspect(database.engine).has_table(FILES.name) else nothing
    except OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        return f"files: cannot use {mask(database_url)}: {reason}"
    finally:
        database.close()


def _take_own_variables() -> None:
    """Apply variables with the prefix FILES_, like the launcher."""
    own = {name.removeprefix(PREFIX): value for name, value in os.environ.items() if name.startswith(PREFIX)}
    os.environ.update(own)


COMMANDS = {"files": (files, describe)}
