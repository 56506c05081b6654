"""Two made-up services: `teller` emits events as fast as it can, `ledger` records them."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import ClassVar

from pydantic import Field
from sqlalchemy import insert, update
from sqlmodel import Session
from starlette.applications import Starlette

from shared.data.database import Database
from shared.errors import Problem
from shared.events import Events, Poison, Subscriber, emit
from shared.peers.client import HttpClient
from shared.process.settings import ServiceSettings
from shared.service import create_service
from tests.shared.events.ledger.models import APPLIED, DONE, EVENTS, THINGS, Heard, Told, manner_of

MIGRATIONS = Path(__file__).parent / "migrations"
THINGS_MAX = 12
PACE_SECONDS = 0.004


class TellerSettings(ServiceSettings):
    service: ClassVar[str] = "teller"

    port: int = Field(default=18081, ge=1, le=65535)
    stop_file: Path = Path("stop")  # the teller stops emitting once it exists


class LedgerSettings(ServiceSettings):
    service: ClassVar[str] = "ledger"

    port: int = Field(default=18082, ge=1, le=65535)


def create_teller(settings: TellerSettings) -> Starlette:
    database = Database(settings.database_url, settings.database_pool)
    telling = threading.Thread(target=_tell, args=(database, settings.stop_file), daemon=True)
    return _create(settings, database, Events(EVENTS, {}, _SUBSCRIBERS), on_start=[telling.start])


def create_ledger(settings: LedgerSettings) -> Starlette:
    database = Database(settings.database_url, settings.database_pool)
    return _create(settings, database, Events(EVENTS, {Heard: note}, _SUBSCRIBERS))


_SUBSCRIBERS = {"ledger": Subscriber("http://127.0.0.1:18082", Told)}


def _create(
    settings: ServiceSettings, database: Database, events: Events, on_start: Sequence[Callable[[], None]] = ()
) -> Starlette:
    return create_service(
        *(settings, []),
        client=HttpClient(),
        database=database,
        follower=nullcontext(),
        events=events,
        on_start=on_start,
    )


def _tell(database: Database, stop_file: Path) -> None:
    while not stop_file.exists():
        with suppress(_ChangedMyMind, Problem), database.transaction() as session:
            do_something(session)
        time.sleep(PACE_SECONDS)


class _ChangedMyMind(Exception):
    """Rolls a transaction back after events were emitted."""


def do_something(session: Session) -> None:
    """Change two things. The row of each is locked before its event is emitted, which fixes the order."""
    for thing in sorted(random.sample(range(THINGS_MAX), 2)):
        name = f"thing {thing}"
        counted = update(THINGS).where(THINGS.c.thing == name).values(number=THINGS.c.number + 1)
        number: int = session.connection().execute(counted.returning(THINGS.c.number)).scalar_one()
        done = {"thing": name, "number": number, "amount": random.randrange(1, 10_000)}
        session.connection().execute(insert(DONE).values(done))
        emit(session, Told.model_validate({**done, "manner": manner_of(name, number)}))
    if random.random() < 0.05:
        raise _ChangedMyMind


def note(session: Session, events: Sequence[Heard]) -> None:
    """Write first and fail afterwards, so that a partial effect would be noticed."""
    for event in events:
        row = {"thing": event.thing, "number": event.number, "amount": event.amount}
        session.connection().execute(insert(APPLIED).values(row))
        if event.manner == "poison":
            raise Poison(f"{event.number} is poison")
        if event.manner == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()
        if event.manner == "shaky" and time.time() % 1 < 0.4:  # succeeds on a later attempt
            raise RuntimeError("not today")
