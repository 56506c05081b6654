"""The service is killed at random while it calls an unreliable receiver: every message arrives."""

import random
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, or_, select

from contracts.events import OrderPlaced
from services.notifications.models import WEBHOOK_ATTEMPTS, WEBHOOK_DELIVERIES
from shared.data.database import Database
from shared.events import Event
from shared.events.event import Sealed
from shared.ids import new_id
from shared.testing import bearer, internal_token, token
from tests.notifications.receiver import Receiver, Reply, receiving
from tests.notifications.support import placed
from tests.notifications.test_killed_mails import AT_ONCE, is_ready
from tests.shared.processes import SECONDS_MAX, Running, forked, service_environment
from tests.support import eventually, free_port, length

pytestmark = pytest.mark.prove

KILLS = int(length(8))
MESSAGES = max(120, 8 * KILLS)  # `make prove LENGTH=38` sends 2,400, with 300 kills
TIMEOUT_SECONDS = 0.5
PATH = "/hook"
BAD = (
    Reply(429, {"Retry-After": "0"}),
    Reply(500),
    Reply(hangs=True),
    Reply(late=2 * TIMEOUT_SECONDS),
)


class Owner:
    """Places orders, with a webhook for them."""

    def __init__(self, url: str) -> None:
        self.user_id = new_id()
        self._url = url

    def begin(self, receiver: Receiver, number: int) -> None:
        body = {"url": receiver.url + PATH, "types": ["order.placed"]}
        headers = bearer(token(self.user_id))
        made = httpx.post(
            f"{self._url}/notifications/webhooks", json=body, headers=headers, timeout=SECONDS_MAX
        )
        assert made.status_code == 201, made.text
        events: list[OrderPlaced] = [placed(self.user_id) for _ in range(number)]
        for start in range(0, number, AT_ONCE):
            deliver(self._url, "orders", events[start : start + AT_ONCE])


def deliver(url: str, source: str, events: Sequence[Event]) -> None:
    bodies = ",".join(Sealed(source, one).body for one in events)
    headers = bearer(internal_token("notifications", issuer=source))
    told = httpx.post(
        f"{url}/internal/events",
        content=f'{{"events":[{bodies}]}}',
        headers=headers | {"Content-Type": "application/json"},
        timeout=SECONDS_MAX,
    )
    assert told.status_code == 204, told.text


def read(url: str, statement: Any) -> list[Any]:
    database = Database(url, pool_size=1)
    try:
        with database.transaction(write=False) as session:
            return list(session.connection().execute(statement).scalars())
    finally:
        database.close()


def wait_until(count: Callable[[], int], goal: int, running: Running) -> None:
    """Wait until all have ended, however slow the machine is, as long as there is progress."""
    while (before := count()) < goal:
        assert eventually(lambda: count() > before, seconds=3 * SECONDS_MAX), (before, running.output)
    assert count() == goal


def kill_after(running: Running, receiver: Receiver, calls: int) -> None:
    goal = len(receiver.at(PATH)) + calls
    assert eventually(lambda: len(receiver.at(PATH)) >= goal, seconds=2 * SECONDS_MAX), running.output
    kill(running)


def kill(running: Running) -> None:
    running.send(signal.SIGKILL)
    running.code()


def test_every_message_arrives_and_copies_only_of_calls_whose_response_was_lost(tmp_path: Path) -> None:
    dice, port, number = random.Random(13), free_port(), MESSAGES
    url, database_url = f"http://127.0.0.1:{port}", f"sqlite:///{tmp_path}/notifications.db"
    environment = service_environment(
        tmp_path,
        port,
        WEBHOOK_TIMEOUT_SECONDS=str(TIMEOUT_SECONDS),
        WEBHOOK_RETRY_SECONDS="0.02",
        AUTH_URL="http://127.0.0.1:9",
        AUDIT_URL="http://127.0.0.1:9",
    )
    with ExitStack() as stack:
        receiver, owner = stack.enter_context(receiving()), Owner(url)
        receiver.reply = lambda _path, _number: dice.choice(BAD) if dice.random() < 0.3 else Reply()
        for each in range(KILLS):
            with forked("services.notifications", environment=environment) as running:
                if each == 0:
                    assert eventually(lambda: is_ready(url), seconds=SECONDS_MAX), running.output
                    owner.begin(receiver, number)
                kill_after(running, receiver, dice.randint(1, MESSAGES // KILLS // 2))
        receiver.reply = lambda _path, _number: Reply()
        delivered = select(func.count()).where(WEBHOOK_DELIVERIES.c.state == "delivered")
        with forked("services.notifications", environment=environment) as running:
            wait_until(lambda: read(database_url, delivered)[0], number, running)

    accepted = Counter(call.id for call in receiver.at(PATH) if call.reply.status == 204)
    unheard = or_(WEBHOOK_ATTEMPTS.c.finished.is_(None), WEBHOOK_ATTEMPTS.c.code == "late")
    explained = Counter(read(database_url, select(WEBHOOK_ATTEMPTS.c.delivery_id).where(unheard)))
    calls = len(receiver.at(PATH))
    print(f"{number} messages, {KILLS} kills, {calls} calls, {sum(explained.values())} unheard, ", end="")
    print(f"{sum(accepted.values()) - len(accepted)} copies")
    assert accepted.keys() == set(read(database_url, select(WEBHOOK_DELIVERIES.c.id)))
    assert {one: copies for one, copies in accepted.items() if copies > 1 + explained[one]} == {}
