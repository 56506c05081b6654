"""Runs tellers and ledgers as real processes that get killed, and checks the final result."""

import signal
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from sqlalchemy import Select, func, select
from sqlmodel import Session

from shared.data.database import Database
from shared.data.migrate import upgrade
from shared.events.event import Envelope
from shared.testing import TEST_INTERNAL_SECRET, TEST_JWT_SECRET
from tests import support
from tests.shared.events.ledger.app import MIGRATIONS
from tests.shared.events.ledger.models import APPLIED, DONE, DYING, EVENTS, manner_of
from tests.shared.processes import Forked, fork

Thing = tuple[str, int]  # the name of a thing, and the number of an action on it


class Player:
    """One process of a made-up service; it uses the same port after a restart."""

    def __init__(self, service: str, folder: Path, environment: dict[str, str]) -> None:
        self._environment, self._log = environment, folder / f"{service}-{environment['PORT']}.log"
        self._process: Forked | None = None
        self.service = service

    def start(self, **more: str) -> None:
        command, environment = ("tests.shared.events.ledger", self.service), self._environment | more
        with self._log.open("a") as log:
            self._process = fork(*command, environment=environment, output=log.fileno())

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)

    def ended_by(self) -> int | None:
        """Return the exit code, negative for a signal; None while it is running."""
        return None if self._process is None else self._process.poll()

    def stop(self) -> int:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)

    @property
    def log(self) -> str:
        return self._log.read_text()


class Stage:
    """The processes, the rows they have written, and the checks on these."""

    def __init__(self, folder: Path, tellers: Database, ledgers: Database, players: list[Player]) -> None:
        self._folder, self._tellers, self._ledgers = folder, tellers, ledgers
        self.players = players

    def of(self, service: str) -> Player:
        return next(player for player in self.players if player.service == service)

    def start_again(self) -> None:
        """Restart processes that were killed, for example by a deadly event."""
        for player in self.players:
            if player.ended_by() is not None:
                assert player.ended_by() == -signal.SIGKILL, player.log[-3000:]
                player.start()

    def done(self) -> dict[Thing, int]:
        """Return the amount of every action."""
        with self._tellers.transaction(write=False) as session:
            rows = session.connection().execute(select(DONE.c.thing, DONE.c.number, DONE.c.amount))
            return {(row.thing, row.number): row.amount for row in rows}

    def applied(self) -> list[tuple[str, int, int]]:
        """Return all applied events, in order."""
        columns = select(APPLIED.c.thing, APPLIED.c.number, APPLIED.c.amount).order_by(APPLIED.c.place)
        with self._ledgers.transaction(write=False) as session:
            return [(row.thing, row.number, row.amount) for row in session.connection().execute(columns)]

    def dead(self) -> dict[str, str]:
        """Return the bodies of all dead letters, with their reasons."""
        parked = EVENTS.parked
        dead = select(parked.c.body, parked.c.reason).where(parked.c.dead)
        with self._ledgers.transaction(write=False) as session:
            return {row.body: row.reason for row in session.connection().execute(dead)}

    def number_applied(self) -> int:
        with self._ledgers.transaction(write=False) as session:
            return _count(session, select(func.count()).select_from(APPLIED))

    def number_received(self) -> int:
        return sum(int(line) for line in (self._folder / "received").read_text().splitlines())

    def end(self) -> None:
        """Stop emitting events."""
        (self._folder / "stop").touch()

    def is_at_rest(self) -> bool:
        """Whether no event is left to send or to retry; restarts processes that have ended."""
        self.start_again()
        outbox, parked = EVENTS.outbox, EVENTS.parked
        with self._tellers.transaction(write=False) as session:
            to_send = _count(session, select(func.count()).select_from(outbox))
        with self._ledgers.transaction(write=False) as session:
            to_try = _count(session, select(func.count()).select_from(parked).where(parked.c.dead.is_(False)))
        return to_send == to_try == 0

    def check(self) -> None:
        """Check that every event was applied once and in order, or is dead with the right reason."""
        done, applied, dead = self.done(), self.applied(), self.dead()
        got = {(thing, number): amount for thing, number, amount in applied}
        assert len(applied) == len(got), "applied twice"
        given_up = {(one.data["thing"], one.data["number"]): one.data["amount"] for one in map(_opened, dead)}
        assert got | given_up == done, "lost, or never done"
        assert sum(got.values()) + sum(given_up.values()) == sum(done.values())
        # A shaky event may be dead, too, if kills used up its attempts.
        assert {one for one in done if manner_of(*one) in DYING} <= given_up.keys()
        assert {manner_of(*one) for one in given_up} <= {*DYING, "shaky"}
        in_order = defaultdict(list)
        for thing, number, _ in applied:
            in_order[thing].append(number)
        assert {thing: sorted(numbers) for thing, numbers in in_order.items()} == in_order

        for body, reason in dead.items():
            assert any(words in reason for words in _REASONS if f'"{_REASONS[words]}"' in body), (
                body,
                reason,
            )


_REASONS = {
    "is poison": "poison",
    "its fields do not match its topic": "unreadable",
    "it crashed the process": "deadly",
    "": "shaky",
}


def _opened(body: str) -> Envelope:
    return Envelope.model_validate_json(body)


def _count(session: Session, statement: Select[int]) -> int:
    return session.connection().execute(statement).scalar_one()


@contextmanager
def stage(
    folder: Path, databases: tuple[str, str], *, replicas: int = 2, redis_url: str = ""
) -> Iterator[Stage]:
    """Run this many tellers on one database and ledgers on another; every teller sends to one ledger."""
    for url in databases:
        upgrade(url, MIGRATIONS)
    with ExitStack() as stack:
        players = _cast(folder, databases, replicas, redis_url)
        opened = [Database(url) for url in databases]
        for database in opened:
            stack.callback(database.close)
        (folder / "received").touch()
        for player in players:
            stack.callback(_end, player)
        yield Stage(folder, opened[0], opened[1], players)


def _end(player: Player) -> None:
    if player.ended_by() is None:
        with suppress(AssertionError):
            player.kill()


def _cast(folder: Path, databases: tuple[str, str], replicas: int, redis_url: str) -> list[Player]:
    common = {
        "DATA_DIR": str(folder),
        "STOP_FILE": str(folder / "stop"),
        "JWT_SECRET": TEST_JWT_SECRET,
        "INTERNAL_SECRET": TEST_INTERNAL_SECRET,
        "REDIS_URL": redis_url,
        "PYTHONUNBUFFERED": "1",
    }
    players = []
    for _ in range(replicas):
        ports = [str(support.free_port()) for _ in range(2)]
        told = {"LEDGER_URL": f"http://127.0.0.1:{ports[1]}"}
        for service, port, database in zip(("teller", "ledger"), ports, databases, strict=True):
            environment = {**common, **told, "PORT": port, "DATABASE_URL": database}
            players.append(Player(service, folder, environment))
    return players
