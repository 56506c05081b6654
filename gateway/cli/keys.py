"""`gatehouse keys …`: create API keys and maintain the file that holds their digests."""

import argparse
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import mkstemp

Command = Callable[[argparse.Namespace], int]
OK, INVALID = 0, 1
DAYS_MAX = 3650


def keys(arguments: argparse.Namespace) -> int:
    """Create and check the API keys of machine clients."""
    from gateway.config.routes_file import RoutesFileError

    chosen: Command = arguments.keys_command
    try:
        return chosen(arguments)
    except RoutesFileError as error:
        sys.stderr.write(f"{error}\n")
        return INVALID


def describe(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command, options in ((new, _new), (check, _file)):
        described = commands.add_parser(command.__name__, help=command.__doc__, description=command.__doc__)
        described.set_defaults(keys_command=command)
        options(described)


def new(arguments: argparse.Namespace) -> int:
    """Create a key: print it once, and write its digest to the file."""
    from gateway.config.api_keys_file import new_key, parse
    from gateway.config.routes_file import RoutesFileError, read

    file: Path = arguments.file
    before = read(file, "API_KEYS_FILE") if file.exists() else "keys:\n"
    if file.exists():
        parse(before, str(file))
    expires = datetime.now(UTC) + timedelta(days=arguments.days) if arguments.days else None
    key, entry = new_key(arguments.client, arguments.role, arguments.scope, expires)
    text = before.replace("keys: []", "keys:").rstrip("\n") + "\n" + entry
    try:
        parse(text, str(file))
    except RoutesFileError as error:
        sys.stderr.write(f"{error}\nThe file is unchanged; no key was created.\n")
        return INVALID
    try:
        _write(file, text)
    except OSError as error:
        sys.stderr.write(f"{file}: cannot be written ({error.strerror}); no key was created\n")
        return INVALID
    sys.stdout.write(f"{key}\n")
    sys.stderr.write(
        f"This key cannot be shown again. {file} contains its digest; running gateways reload the file.\n"
    )
    return OK


def check(arguments: argparse.Namespace) -> int:
    """List all faults of the file; exit code 0 valid, 1 invalid or unreadable."""
    from gateway.config.api_keys_file import load

    number = len(load(arguments.file))
    sys.stdout.write(f"{arguments.file}: valid, {number} {'key' if number == 1 else 'keys'}\n")
    return OK


def _write(file: Path, text: str) -> None:
    """Write the file atomically, with the mode of the existing file, or readable by its owner only."""
    descriptor, name = mkstemp(dir=file.parent, prefix=file.name)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)
    if file.exists():
        Path(name).chmod(file.stat().st_mode & 0o777)
    Path(name).replace(file)


def _days(text: str) -> int:
    days = int(text) if text.isdecimal() else -1
    if not 0 <= days <= DAYS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days up to {DAYS_MAX}")
    return days


def _file(parser: argparse.ArgumentParser) -> None:
    default = Path(os.environ.get("API_KEYS_FILE") or "api-keys.yaml")
    parser.add_argument("file", nargs="?", type=Path, default=default, help=f"default: {default}")


def _new(parser: argparse.ArgumentParser) -> None:
    from gateway.config.api_keys_file import CLIENT, SCOPE
    from gateway.policies.api_keys import ROLE

    def matching(pattern: str, words: str) -> Callable[[str], str]:
        def checked(text: str) -> str:
            import re

            if not re.fullmatch(pattern, text):
                raise argparse.ArgumentTypeError(f"{text!r} is not {words}")
            return text

        return checked

    name = matching(CLIENT.pattern, "a name of letters, digits, '.', '_' and '-'")
    scope = matching(SCOPE.pattern, "a scope, which must not contain blanks or quotes")
    parser.add_argument("--client", required=True, type=name, help="name of the client, for example: billing")
    parser.add_argument("--scope", action="append", default=[], type=scope, help="may be repeated")
    parser.add_argument("--role", default=ROLE, type=name, help=f"default: {ROLE}")
    parser.add_argument("--days", type=_days, default=0, help="days until the key expires; default: never")
    _file(parser)
