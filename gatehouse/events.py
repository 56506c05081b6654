"""`gatehouse events …`: handle dead letters, and print the catalogue of all events."""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gatehouse import programs
from gatehouse.place import ROOT
from gatehouse.programs import Program
from shared.clock import now

if TYPE_CHECKING:
    from shared.data.database import Database
    from shared.events.dead import DeadLetter, DeadLetters

REASON_CHARACTERS = 100
Command = Callable[[argparse.Namespace], int]
Describe = Callable[[argparse.ArgumentParser], None]


class NotPossible(Exception):
    """The command cannot be carried out; the message says why."""


def events(arguments: argparse.Namespace) -> int:
    """Show, replay or drop events that could not be applied; print the catalogue of all events."""
    chosen: Command = arguments.events_command
    try:
        return chosen(arguments)
    except NotPossible as error:
        sys.stderr.write(f"{error}\n")
        return 1


def describe(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    table: tuple[tuple[Command, Describe], ...] = (
        (dead, _dead),
        (show, _one_letter),
        (replay, _letters_or_all),
        (drop, _letters),
        (catalogue, _nothing),
    )
    for command, options in table:
        text = command.__doc__
        described = commands.add_parser(command.__name__, help=text, description=text)
        described.set_defaults(events_command=command)
        options(described)


def dead(arguments: argparse.Namespace) -> int:
    """List the events that one service, or any service, could not apply."""
    found: list[tuple[str, DeadLetter]] = []
    for program in _programs(arguments.service):
        with _letters_of(program) as opened:
            if opened is not None:
                database, letters = opened
                with database.transaction(write=False) as session:
                    found += [(program.name, letter) for letter in letters.oldest(session)]
    if arguments.json:
        _print_json([_as_json(name, letter) for name, letter in found])
    else:
        sys.stdout.write(_table(found) if found else "no dead letters\n")
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Show a dead letter with the content of the event."""
    with _opened(arguments.service) as (database, letters), database.transaction(write=False) as session:
        (letter,) = _all_there(letters.those(session, [arguments.id]), [arguments.id])
    _print_json(_as_json(arguments.service, letter) | {"event": letter.event.model_dump(mode="json")})
    return 0


def replay(arguments: argparse.Namespace) -> int:
    """Let the service retry dead letters in order of arrival; it need not be running."""
    if bool(arguments.ids) == arguments.all:
        raise NotPossible("give one or more ids, or --all")
    if arguments.all:
        return _replay_all(arguments.service)
    with _opened(arguments.service) as (database, letters), database.transaction() as session:
        found = _all_there(letters.those(session, arguments.ids), arguments.ids)
        replayed = letters.replay(session, found)
    sys.stdout.write(f"{arguments.service}: {len(replayed)} to be retried\n")
    return 0


def _replay_all(service: str) -> int:
    """Replay a batch per transaction, so that writes of a running service need not wait for all of them.

    Each batch begins after the previous one, because the service may have given up a replayed letter again.
    """
    number, last = 0, None
    with _opened(service) as (database, letters):
        while True:
            with database.transaction() as session:
                found = letters.oldest(session, after=last)
                number += len(letters.replay(session, found))
            if not found:
                break
            last = found[-1]
    sys.stdout.write(f"{service}: {number} to be retried\n")
    return 0


def drop(arguments: argparse.Namespace) -> int:
    """Delete dead letters without applying them."""
    with _opened(arguments.service) as (database, letters), database.transaction() as session:
        found = _all_there(letters.those(session, arguments.ids), arguments.ids)
        dropped = letters.drop(session, found)
    sys.stdout.write(f"{arguments.service}: {len(dropped)} deleted\n")
    return 0


def catalogue(_arguments: argparse.Namespace) -> int:
    """Print every event with its fields, sender and receivers (stored in contracts/README.md)."""
    from gatehouse import catalogue

    sys.stdout.write(catalogue.text())
    return 0


def _programs(service: str | None) -> list[Program]:
    return [
        program
        for program in programs.load(ROOT, os.environ)
        if program.name != programs.GATEWAY and service in (None, program.name)
    ]


@contextmanager
def _letters_of(program: Program) -> "Iterator[tuple[Database, DeadLetters] | None]":
    """Open the dead letters in a service's database; None if it has no event tables yet."""
    # Imported late: `gatehouse up` never needs these.
    from sqlalchemy import inspect, make_url
    from sqlalchemy.exc import OperationalError

    from shared.data.database import Database
    from shared.events import EventTables
    from shared.events.dead import DeadLetters
    from shared.process.settings import ServiceSettings, mask

    assert isinstance(program.settings, ServiceSettings)
    url = make_url(program.settings.database_url)
    tables = getattr(importlib.import_module(f"{program.module}.models"), "EVENTS", None)
    is_missing = url.get_backend_name() == "sqlite" and not Path(url.database or "").exists()
    if is_missing or not isinstance(tables, EventTables):
        yield None
        return
    database = Database(program.settings.database_url, pool_size=1)
    try:
        with database.engine.connect() as connection:
            is_ready = inspect(connection).has_table(tables.parked.name)
        yield (database, DeadLetters(tables)) if is_ready else None
    except OperationalError as error:
        reason = str(error.orig).strip().partition("\n")[0]
        raise NotPossible(f"{program.name}: cannot use {mask(str(url))}: {reason}") from error
    finally:
        database.close()


@contextmanager
def _opened(service: str) -> "Iterator[tuple[Database, DeadLetters]]":
    (program,) = _programs(service)
    with _letters_of(program) as opened:
        if opened is None:
            raise NotPossible(f"{service} has no event tables yet: start it, or run `gatehouse migrate`")
        yield opened


def _all_there(found: "Sequence[DeadLetter]", ids: Sequence[str]) -> "list[DeadLetter]":
    """Return the letters, or refuse if one of the ids is unknown."""
    missing = sorted(set(ids) - {letter.id for letter in found})
    if missing:
        raise NotPossible(f"no dead letter {', '.join(missing)}; `gatehouse events dead` lists them")
    return [*found]


def _as_json(service: str, letter: "DeadLetter") -> dict[str, object]:
    facts = {name: value for name, value in asdict(letter).items() if name not in ("seq", "event")}
    return {"service": service, **facts, "received": letter.received.isoformat()}


def _table(found: "Sequence[tuple[str, DeadLetter]]") -> str:
    rows = [("SERVICE", "ID", "TOPIC", "KEY", "TRIED", "AGE", "REASON")]
    for service, one in found:
        reason = one.reason.replace("\n", " ")[:REASON_CHARACTERS]
        rows.append((service, one.id, one.topic, one.key, str(one.attempts), _age(one.received), reason))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)] + [0]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _age(since: datetime) -> str:
    minutes = int((now() - since).total_seconds() // 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} d"


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _services() -> list[str]:
    return [name for name in programs.find(ROOT) if name != programs.GATEWAY]


def _service(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    parser.add_argument(
        "service",
        nargs="?" if optional else None,
        choices=_services(),
        metavar="service",
        help=f"{'only ' if optional else ''}one of: {', '.join(_services())}",
    )


def _dead(parser: argparse.ArgumentParser) -> None:
    _service(parser, optional=True)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _one_letter(parser: argparse.ArgumentParser) -> None:
    _service(parser)
    parser.add_argument("id", help="event id, as listed by `events dead`")


def _letters(parser: argparse.ArgumentParser) -> None:
    _service(parser)
    parser.add_argument("ids", nargs="+", metavar="id", help="event ids, as listed by `events dead`")


def _letters_or_all(parser: argparse.ArgumentParser) -> None:
    _service(parser)
    parser.add_argument("ids", nargs="*", metavar="id", help="event ids, as listed by `events dead`")
    parser.add_argument("--all", action="store_true", help="all dead letters of the service")


def _nothing(_parser: argparse.ArgumentParser) -> None:
    """Add no options."""
