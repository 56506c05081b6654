"""`gatehouse routes …`: check, explain and compare routes files without a running gateway."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

Command = Callable[[argparse.Namespace], int]
OK, INVALID, UNREADABLE = range(3)


def routes(arguments: argparse.Namespace) -> int:
    """Check, explain and compare routes files."""
    from gateway.config.routes_file import RoutesFileError, Unreadable

    chosen: Command = arguments.routes_command
    try:
        return chosen(arguments)
    except RoutesFileError as error:
        sys.stderr.write(f"{error}\n")
        return UNREADABLE if isinstance(error, Unreadable) else INVALID


def describe(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command, options in ((check, _check), (explain, _explain), (diff, _diff), (schema, _schema)):
        text = command.__doc__
        described = commands.add_parser(command.__name__, help=text, description=text)
        described.set_defaults(routes_command=command)
        options(described)


def check(arguments: argparse.Namespace) -> int:
    """List all faults of a file; exit code 0 valid, 1 invalid, 2 unreadable."""
    from gateway.config.routes_file import Unreadable, examine, read

    file = arguments.file
    try:
        table, faults = examine(read(file), str(file), development=_is_development())
    except Unreadable as error:
        if not arguments.json:
            raise
        _print_json({"file": str(file), "valid": False, "unreadable": str(error), "findings": []})
        return UNREADABLE
    code = INVALID if table is None else OK
    if arguments.json:
        findings = [found._asdict() for found in faults.findings]
        _print_json({"file": str(file), "valid": table is not None, "findings": findings})
        return code
    for found in faults.findings:
        sys.stderr.write(f"{found.as_text(str(file))}\n")
    if table is not None:
        sys.stdout.write(f"{file}: valid, {len(table.routes)} routes, {len(table.aliases)} aliases\n")
    return code


def explain(arguments: argparse.Namespace) -> int:
    """Show which route a request takes and why, what it must satisfy, and what the backend receives."""
    from gateway.config.routes_file import load
    from gateway.forwarding.explain import explain as explain_request

    table = load(arguments.file, development=_is_development())
    lines = explain_request(table, arguments.method, arguments.url, arguments.header, arguments.address)
    if arguments.json:
        _print_json([line._asdict() for line in lines])
        return OK
    before = ""
    for line in lines:
        sys.stdout.write(f"{'' if line.name == before else line.name:<9} {line.words}\n")
        before = line.name
    return OK


def diff(arguments: argparse.Namespace) -> int:
    """Show what a new file adds (+), removes (-) and changes (~); exit code 1 if anything differs."""
    from gateway.config.description import differences
    from gateway.config.routes_file import RoutesFileError, load

    try:
        old, new = (load(file, development=_is_development()) for file in (arguments.old, arguments.new))
    except RoutesFileError as error:
        sys.stderr.write(f"{error}\n")
        return UNREADABLE  # exit code 1 means that both were read and differ
    lines = differences(old, new)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return INVALID if lines else OK


def schema(_arguments: argparse.Namespace) -> int:
    """Print the JSON Schema of routes files, for editors (stored in deploy/routes.schema.json)."""
    from gateway.config.json_schema import text

    sys.stdout.write(text())
    return OK


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _is_development() -> bool:
    return os.environ.get("ENVIRONMENT", "development") == "development"


def _file(parser: argparse.ArgumentParser) -> None:
    default = Path(os.environ.get("ROUTES_FILE") or "routes.yaml")
    parser.add_argument("file", nargs="?", type=Path, default=default, help=f"default: {default}")


def _check(parser: argparse.ArgumentParser) -> None:
    _file(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("method", help="for example: GET")
    parser.add_argument("url", help="a path, or a full URL if the route depends on the host")
    _check(parser)
    parser.add_argument(
        "--from",
        dest="address",
        type=_address,
        default="127.0.0.1",
        metavar="ADDRESS",
        help="IP address of the client, for routes that depend on it",
    )
    parser.add_argument(
        "-H",
        dest="header",
        type=_header,
        action="append",
        default=[],
        metavar="'Name: value'",
        help="a request header; may be repeated",
    )


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IP address") from error


def _header(text: str) -> str:
    name, colon, _ = text.partition(":")
    if not name.strip() or not colon:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 'Name: value'")
    return text


def _diff(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", type=Path, help="a routes file")
    parser.add_argument("new", type=Path, help="the file that would replace it")


def _schema(_parser: argparse.ArgumentParser) -> None:
    """Add no options."""
