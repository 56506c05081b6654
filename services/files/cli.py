"""`gatehouse files …`: what an operator does with stored content."""

import argparse
import os
import sys
from collections.abc import Callable

GOOD, FAULTY = 0, 1
PREFIX = "FILES_"


def files(arguments: argparse.Namespace) -> int:
    """Look after the content of files."""
    chosen: Callable[[argparse.Namespace], int] = arguments.files_command
    return chosen(arguments)


def describe(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    described = commands.add_parser("verify", help=verify.__doc__, description=verify.__doc__)
    described.set_defaults(files_command=verify)


def verify(_arguments: argparse.Namespace) -> int:
    """Read all content and name what is missing, changed or orphaned; exit code 0 if nothing is."""
    from services.files.blobs import make_store
    from services.files.settings import Settings
    from services.files.verification import Progress, check
    from shared.database import Database

    _take_own_variables()
    settings = Settings.load()
    database, store = Database(settings.database_url, pool_size=1), make_store(settings)
    try:
        findings = check(database, store, Progress(sys.stderr))
    finally:
        store.close()
        database.close()
    for fault in findings.faults:
        sys.stdout.write(f"{fault}\n")
    told = f"{findings.files} files, {findings.bytes} bytes: {len(findings.faults) or 'no'} faults\n"
    sys.stdout.write(told)
    return FAULTY if findings.faults else GOOD


def _take_own_variables() -> None:
    """FILES_X stands for X, as it does for the launcher."""
    own = {name.removeprefix(PREFIX): value for name, value in os.environ.items() if name.startswith(PREFIX)}
    os.environ.update(own)


COMMANDS = {"files": (files, describe)}
