"""`gatehouse signing-keys …`: rotate the keys that sign tokens, and kill one that has leaked.

The commands work on the database of auth, so they need no running suite and do not disturb one.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sqlmodel import Session

    from services.auth.keys.rotation import KeyRotation, KeyState
    from services.auth.keys.signing_keys import SigningKeys
    from services.auth.settings import Settings
    from shared.data.database import Database

AFTER_SECONDS_MAX = 7 * 24 * 3600
REASON_CHARACTERS_MAX = 300
ROTATED, KILLED = "SIGNING_KEY_ROTATED", "SIGNING_KEY_KILLED"

Command = Callable[[argparse.Namespace, "_Tools"], int]


class _Tools(NamedTuple):
    database: "Database"
    keys: "SigningKeys"
    rotation: "KeyRotation"
    settings: "Settings"


def signing_keys(arguments: argparse.Namespace, settings: "Settings") -> int:
    """List, rotate and kill the keys that sign tokens."""
    from sqlalchemy.exc import IntegrityError, OperationalError

    from services.auth.keys.rotation import NotPossible
    from shared.errors import Problem

    chosen: Command = arguments.signing_keys_command
    try:
        with _tools(settings) as tools:
            return chosen(arguments, tools)
    except NotPossible as error:
        sys.stderr.write(f"{error}\n")
    except IntegrityError:
        sys.stderr.write("another process has added a key at the same moment; look with: signing-keys list\n")
    except (OperationalError, Problem) as error:
        reason = str(getattr(error, "orig", error)).strip().partition("\n")[0]
        sys.stderr.write(f"the database of auth cannot be used: {reason}\n")
    return 1


def describe(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, options in (("list", show, _show), ("rotate", rotate, _rotate), ("kill", kill, _kill)):
        described = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        described.set_defaults(signing_keys_command=command)
        options(described)


def show(arguments: argparse.Namespace, tools: _Tools) -> int:
    """List the keys, the newest first, with what each does now."""
    with tools.database.transaction(write=False) as session:
        found = tools.rotation.states(session)
    if arguments.json:
        sys.stdout.write(json.dumps([_facts(one) for one in found], indent=2) + "\n")
    else:
        sys.stdout.write(_table(found))
    return 0


def rotate(arguments: argparse.Namespace, tools: _Tools) -> int:
    """Publish a new key, which signs once all verifiers have it; the old key stays for its last token."""
    from services.auth.keys.rotation import OVERLAP_SECONDS

    after = timedelta(seconds=OVERLAP_SECONDS if arguments.after is None else arguments.after)
    made = tools.keys.new_key()
    with tools.database.transaction() as session:
        before = tools.rotation.rotate(session, made, after)
        _record(session, ROTATED, made.id, {"replaces": before.id, "signs_from": _text(made.signs_from)})
    sys.stdout.write(
        f"{made.id} is published, and signs from {_text(made.signs_from)}\n"
        f"{before.id} signs until then; its tokens are valid until they expire, at most until "
        f"{_text(before.retires)}\n"
    )
    return 0


def kill(arguments: argparse.Namespace, tools: _Tools) -> int:
    """Refuse every token that a key has signed, within a second; another key signs at once."""
    import asyncio

    from services.auth.revocations.announcement import announce
    from services.auth.revocations.log import newest_number

    spare = tools.keys.new_key()
    with tools.database.transaction() as session:
        killed, signing = tools.rotation.kill(session, arguments.key, spare)
        reason = {"reason": arguments.reason} if arguments.reason else {}
        _record(session, KILLED, killed.id, {"signs_now": signing.id, **reason})
    with tools.database.transaction(write=False) as session:
        newest = newest_number(session)
    is_known = asyncio.run(announce(tools.settings, newest))
    auth = tools.settings.auth_url
    effect = (
        "is killed: the gateway and the services refuse its tokens"
        if is_known
        else f"is killed, but auth does not respond at {auth}: its tokens are refused once auth is running"
    )
    sys.stdout.write(
        f"{killed.id} {effect}\n"
        f"{signing.id} signs now; sessions go on, since clients get new tokens for their refresh tokens\n"
    )
    return 0


@contextmanager
def _tools(settings: "Settings") -> Iterator[_Tools]:
    """Open the database as auth does; events are written to the outbox, and auth sends them."""
    from contracts.events import SUBSCRIBERS
    from services.auth.keys.rotation import KeyRotation, NotPossible
    from services.auth.keys.signing_keys import SigningKeys
    from services.auth.models import EVENTS
    from services.auth.revocations.log import RevocationLog
    from shared.data.database import Database
    from shared.events import Events
    from shared.peers.client import HttpClient

    if settings.jwt_secret is not None:
        raise NotPossible(
            "tokens are signed with JWT_SECRET, so there are no keys; change JWT_SECRET instead"
        )
    database = Database(settings.database_url, pool_size=1)
    try:
        _require_migrated(database, settings)
        Events(EVENTS, {}, SUBSCRIBERS).attach(settings, database, HttpClient())
        keys = SigningKeys(settings, database)
        keys.require_readable()
        yield _Tools(database, keys, KeyRotation(keys, RevocationLog(settings)), settings)
    finally:
        database.close()


def _require_migrated(database: "Database", settings: "Settings") -> None:
    from services.auth.keys.rotation import NotPossible
    from shared.data.migrate import current, newest

    with database.engine.connect() as connection:
        here, wanted = current(connection), newest(settings.migrations())
    if here != wanted:
        raise NotPossible(
            f"the database of auth is at version {here or 'none'}, but this program needs {wanted}: "
            "start the suite once, or run gatehouse migrate"
        )


def _record(session: "Session", action: str, key_id: str, details: dict[str, Any]) -> None:
    """Record the action; the actor is auth itself, since a command line has no account."""
    from shared.clock import now
    from shared.events import Recorded, emit

    emit(
        session,
        Recorded(
            user_id=None,
            actor="service:auth",
            action=action,
            resource=key_id,
            ip=None,
            user_agent=None,
            metadata={"by": "command line", **details},
            timestamp=now(),
            outcome="success",
            status=200,
            service="auth",
            request_id=None,
            trace_id=None,
        ),
    )


def _facts(one: "KeyState") -> dict[str, str | None]:
    key = one.key
    times = {
        "created": key.created,
        "signs_from": max(key.signs_from, key.created),
        "retires": key.retires,
        "killed": key.killed,
    }
    return {"id": key.id, "state": one.state.value} | {
        name: None if moment is None else _text(moment) for name, moment in times.items()
    }


def _table(found: "Sequence[KeyState]") -> str:
    if not found:
        return "no keys yet: auth creates the first one when it starts\n"
    lines = [f"{'KEY':<43}  {'STATE':<8}  {'SIGNS FROM':<20}  RETIRES"]
    for one in found:
        facts = _facts(one)
        ends = facts["killed"] or facts["retires"] or "-"
        lines.append(f"{facts['id']:<43}  {facts['state']:<8}  {facts['signs_from']:<20}  {ends}")
    return "".join(f"{line}\n" for line in lines)


def _text(moment: datetime | None) -> str:
    return "-" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _rotate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--after",
        type=_seconds,
        metavar="SECONDS",
        default=None,
        help="when the new key begins to sign (default: after twice the time that verifiers keep the keys)",
    )


def _kill(parser: argparse.ArgumentParser) -> None:
    described = (
        "the id, or how it begins, as listed by `signing-keys list`; put -- before an id that begins with -"
    )
    parser.add_argument("key", type=_key_id, help=described)
    parser.add_argument("--reason", type=_reason, default="", help="for the audit log")


def _seconds(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or int(text) > AFTER_SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds up to {AFTER_SECONDS_MAX}")
    return int(text)


def _key_id(text: str) -> str:
    if not 8 <= len(text) <= 43:
        raise argparse.ArgumentTypeError(f"{text!r} is not an id; give at least its first 8 characters")
    return text


def _reason(text: str) -> str:
    if len(text) > REASON_CHARACTERS_MAX or not text.isprintable():
        raise argparse.ArgumentTypeError(f"a reason has at most {REASON_CHARACTERS_MAX} printable characters")
    return text


COMMANDS_WITH_SETTINGS = {"signing-keys": (signing_keys, describe)}
