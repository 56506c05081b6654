"""`gatehouse logs REQUEST_ID`: what every process logged about one request, in chronological order."""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from gatehouse.screen import OURS

LINES_MAX = 10_000
STDIN = "-"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_COMPOSE_PREFIX = re.compile(r"^[^|{]*\| ?")
_COLOURS = {"error": "31", "critical": "31", "warning": "33", "debug": "2"}
# Shown first and in words, or the same on every line.
_SAID = {"timestamp", "service", "event", "level", "request_id"}
_OF_REQUESTS = {"method", "path", "status", "ms"}


class NoLogs(Exception):
    """There is nothing to search; the message says what to do."""


class Entry(NamedTuple):
    """A line of the log."""

    moment: datetime
    fields: dict[str, Any]
    line: str


def logs(arguments: argparse.Namespace) -> int:
    """Show what all processes logged about one request, from log files or containers, in order of time."""
    wanted = arguments.request_id
    if _REQUEST_ID.fullmatch(wanted) is None:
        sys.stderr.write(f"{wanted!r} is not a request id; a response carries it in X-Request-ID\n")
        return 2
    try:
        found = entries(_lines(arguments.file), wanted)
    except NoLogs as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if not found:
        sys.stderr.write(
            f"no line with the request id {wanted} was found; older logs may have been removed\n"
        )
        return 1
    is_coloured = sys.stdout.isatty()
    for entry in found:
        sys.stdout.write(f"{entry.line if arguments.json else shown(entry, is_coloured=is_coloured)}\n")
    return 0


def describe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("request_id", help="the X-Request-ID of the response, or `request_id` of the problem")
    text = "a log file, or - for standard input; may be repeated (default: LOG_FILE, else the containers)"
    parser.add_argument("--file", action="append", default=[], help=text)
    parser.add_argument("--json", action="store_true", help="print the lines as they were logged")


def entries(lines: Iterable[str], request_id: str) -> list[Entry]:
    """Return the lines with this request id, oldest first."""
    found = []
    for line in lines:
        if request_id not in line:  # much cheaper than reading the JSON of every line
            continue
        entry = _entry(line.strip())
        if entry is not None and entry.fields.get("request_id") == request_id:
            found.append(entry)
            if len(found) == LINES_MAX:
                break
    return sorted(found, key=lambda entry: entry.moment)


def _entry(line: str) -> Entry | None:
    text = _COMPOSE_PREFIX.sub("", line)
    try:
        fields = json.loads(text)
        moment = datetime.fromisoformat(fields["timestamp"])
    except (ValueError, KeyError, TypeError):  # not a line of ours
        return None
    return Entry(moment if moment.tzinfo else moment.replace(tzinfo=UTC), fields, text)


def shown(entry: Entry, *, is_coloured: bool) -> str:
    """Return a line for people; control characters that a client sent stay escaped."""
    fields = entry.fields
    words, left_out = str(fields.get("event", "")), set(_SAID)
    if words == "request" and fields.keys() >= _OF_REQUESTS:
        words = f"{fields['method']} {_text(fields['path'])} {fields['status']} in {fields['ms']:g} ms"
        left_out |= _OF_REQUESTS
    more = [f"{name}={_text(value)}" for name, value in fields.items() if name not in left_out]
    service = f"{fields.get('service', OURS):<13}"
    level = str(fields.get("level", "info"))
    colour = _COLOURS.get(level, "36")
    service = f"\x1b[{colour}m{service}\x1b[0m" if is_coloured else service
    told = [words, *([level] if level in ("warning", "error", "critical") else []), *more]
    return f"{entry.moment:%H:%M:%S.%f}"[:-3] + f"  {service}  {'  '.join(told)}"


def _text(value: object) -> str:
    is_plain = isinstance(value, str) and value.isprintable() and value != "" and " " not in value
    return str(value) if is_plain else json.dumps(value)


def _lines(named: Sequence[str]) -> Iterator[str]:
    files = [*named] or _log_files()
    if files:
        missing = [file for file in files if file != STDIN and not Path(file).is_file()]
        if missing:
            raise NoLogs(f"{missing[0]}: there is no such file")
        return (line for file in files for line in _lines_of(file))
    return _lines_of_containers()


def _log_files() -> list[str]:
    """Return LOG_FILE with the older files beside it, which end in a number."""
    given = os.environ.get("LOG_FILE")
    if not given:
        return []
    file = Path(given)
    return [str(one) for one in [file, *file.parent.glob(f"{file.name}.[0-9]*")] if one.is_file()]


def _lines_of(file: str) -> Iterator[str]:
    if file == STDIN:
        yield from sys.stdin
        return
    with Path(file).open(encoding="utf-8", errors="replace") as lines:
        yield from lines


def _lines_of_containers() -> Iterator[str]:
    program = shutil.which("docker-compose")
    command = [program] if program else ["docker", "compose"]
    # Only `make env` makes the checkout one of containers.
    is_there = all(Path(name).exists() for name in ("docker-compose.yml", ".env"))
    if not is_there or not (program or shutil.which("docker")):
        raise NoLogs(
            "set LOG_FILE as for `gatehouse up`, name files with --file, or run this where "
            "docker-compose.yml and .env are; journalctl -o cat -u gatehouse | gatehouse logs ID --file - "
            "reads a journal"
        )
    return _lines_of_command([*command, "logs", "--no-color"])


def _lines_of_command(command: Sequence[str]) -> Iterator[str]:
    with subprocess.Popen(  # noqa: S603 - a command of ours
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        with closing(process.stdout) as lines:
            yield from lines
        if process.wait() != 0:
            raise NoLogs(f"{' '.join(command)} failed with exit code {process.returncode}")
