"""The commands of the gateway: `gatehouse routes …`, `gatehouse keys …` and `gatehouse token …`."""

import argparse
from collections.abc import Callable

from gateway.cli import keys, routes, token
from gateway.cli.routes import Command

COMMANDS: dict[str, tuple[Command, Callable[[argparse.ArgumentParser], None]]] = {
    "routes": (routes.routes, routes.describe),
    "keys": (keys.keys, keys.describe),
}
# Commands that need the gateway's settings.
COMMANDS_WITH_SETTINGS = {"token": (token.token, token.describe)}


def main(arguments: list[str]) -> int:
    """Run `python -m gateway routes …` or `… keys …`."""
    parser = argparse.ArgumentParser(prog="python -m gateway")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (command, options) in COMMANDS.items():
        described = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        described.set_defaults(command=command)
        options(described)
    chosen = parser.parse_args(arguments)
    command = chosen.command
    return int(command(chosen))
