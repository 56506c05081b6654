"""`gatehouse move`."""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from gatehouse.move import NotMoved
from gatehouse.place import ROOT

if TYPE_CHECKING:
    from gatehouse.move.moving import Move, Moved


def move(arguments: argparse.Namespace) -> int:
    """Move a service's data from SQLite to PostgreSQL or back, while it serves reads."""
    try:
        return _moved(arguments)
    except NotMoved as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _moved(arguments: argparse.Namespace) -> int:
    chosen = _chosen(arguments)
    if arguments.cancel:
        chosen.cancel()
        sys.stdout.write(f"{arguments.service} may write to its present database again\n")
        return 0
    if arguments.dry_run:
        counts = chosen.rehearse()
        _tell(arguments, {"service": arguments.service, "rows": counts}, _listed(counts))
        sys.stderr.write("everything is ready for the move; nothing was changed\n")
        return 0
    started = time.monotonic()
    moved = chosen.compare() if arguments.verify_only else chosen.run()
    seconds = round(time.monotonic() - started, 1)
    told = {"service": arguments.service, "seconds": seconds, "tables": [asdict(one) for one in moved]}
    if not arguments.verify_only:
        told |= {"next": _next_step(arguments)}
    _tell(arguments, told, "".join(_line(one) for one in moved))
    if different := [one.table for one in moved if not one.is_equal]:
        sys.stderr.write(f"different: {', '.join(different)}\n")
        return 1
    rows = sum(one.rows for one in moved)
    sys.stderr.write(f"{rows:,} rows are equal in both databases, after {seconds:,} s\n")
    if not arguments.verify_only:
        sys.stderr.write(f"{_next_step(arguments)}\n")
    return 0


def _chosen(arguments: argparse.Namespace) -> "Move":
    from gatehouse.backup import NotDone, parts
    from gatehouse.move.databases import is_known
    from gatehouse.move.moving import Move

    try:
        (part,) = parts.of_suite(ROOT, [arguments.service])
    except NotDone as error:
        raise NotMoved(str(error)) from None
    url = _from_file(arguments.to)
    if not url and not arguments.cancel:
        raise NotMoved("name the new database: --to postgresql://user:password@host/database")
    if url and not is_known(url):
        raise NotMoved(
            "--to is not the URL of a database, such as postgresql://user:password@host/database or "
            "sqlite:////absolute/file.db; nothing was changed"
        )
    other = "postgresql://" if part.url.startswith("sqlite") else "sqlite:///none"
    return Move(part.name, part.url, url or other, part.migrations, _say)


def _from_file(url: str) -> str:
    """Return the URL itself, or the content of @FILE, so that no password is in the list of processes."""
    if not url.startswith("@"):
        return url
    try:
        return Path(url[1:]).read_text().strip()
    except OSError as error:
        raise NotMoved(f"{url[1:]} cannot be read ({error.strerror})") from None


def _next_step(arguments: argparse.Namespace) -> str:
    variable = f"{arguments.service.upper()}_DATABASE_URL"
    return (
        f"now set {variable} to the new URL and restart {arguments.service}; until then its writes stay "
        f"paused. To stay with the old database instead: gatehouse move {arguments.service} --cancel"
    )


def _tell(arguments: argparse.Namespace, told: dict[str, object], words: str) -> None:
    sys.stdout.write(f"{json.dumps(told)}\n" if arguments.json else words)


def _line(one: "Moved") -> str:
    return f"{one.rows:>12,}  {one.hash}  {one.table}{'' if one.is_equal else '  DIFFERENT'}\n"


def _listed(counts: dict[str, int]) -> str:
    return "".join(f"{rows:>12,}  {table}\n" for table, rows in counts.items())


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def describe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("service", metavar="SERVICE", help="for example orders")
    parser.add_argument(
        "--to",
        default="",
        metavar="URL",
        help="the new database, which must be empty; @FILE reads the URL from a file",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--dry-run", action="store_true", help="check everything, change nothing")
    modes.add_argument("--verify-only", action="store_true", help="compare the two databases as they are")
    modes.add_argument(
        "--cancel", action="store_true", help="let the service write to its present database again"
    )
