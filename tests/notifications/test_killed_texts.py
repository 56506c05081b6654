"""The service is killed at random while Twilio is unreliable: every text message arrives exactly once."""

import random
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, or_, select

from contracts.events import OrderPlaced
from services.notifications.models import ATTEMPTS, DELIVERIES
from shared.ids import new_id
from shared.testing import bearer, token
from tests.notifications import twilio
from tests.notifications.support import account, placed
from tests.notifications.test_killed_mails import AT_ONCE, is_ready
from tests.notifications.test_killed_webhooks import deliver, kill, read, wait_until
from tests.notifications.twilio import Reply, Twilio
from tests.shared.processes import SECONDS_MAX, Running, forked, service_environment
from tests.support import eventually, free_port, length

pytestmark = pytest.mark.prove

KILLS = int(length(8))
MESSAGES = max(120, 8 * KILLS)  # `make prove LENGTH=38` sends 2,400, with 300 kills
TIMEOUT_SECONDS = 0.5
# Twilio is asked for the newest 200 messages to a number. Nobody gets as many in the time of a retry.
OF_ONE_PERSON = 60
BAD = (
    Reply(429, headers={"Retry-After": "0"}, accepts=False),
    Reply(500, accepts=False),
    Reply(500, accepts=True),
    Reply(hangs=True),
    Reply(late=2 * TIMEOUT_SECONDS),
)


def add_person(url: str, server: Twilio, phone: str) -> str:
    """Confirm the phone of someone who wants text messages about orders; return the id of the account."""
    user_id = new_id()
    headers = bearer(token(user_id))
    deliver(url, "auth", [account(user_id)])
    with httpx.Client(base_url=url, headers=headers, timeout=SECONDS_MAX) as client:
        assert client.put("/notifications/phone", json={"number": phone}).status_code == 200
        assert eventually(lambda: server.to(phone) != [], seconds=SECONDS_MAX)
        code = re.search(r"\b[0-9]{6}\b", server.to(phone)[0])
        assert code is not None
        assert client.post("/notifications/phone/confirm", json={"code": code[0]}).status_code == 200
        wanted = {"choices": [{"type": "order.placed", "channel": "sms", "on": True}]}
        assert client.put("/notifications/preferences", json=wanted).status_code == 200
    return user_id


def place(url: str, orders: Sequence[OrderPlaced]) -> None:
    for start in range(0, len(orders), AT_ONCE):
        deliver(url, "orders", orders[start : start + AT_ONCE])


def kill_after(running: Running, server: Twilio, calls: int) -> None:
    goal = len(server.calls) + calls
    assert eventually(lambda: len(server.calls) >= goal, seconds=2 * SECONDS_MAX), running.output
    kill(running)


def test_every_message_arrives_exactly_once(tmp_path: Path) -> None:
    dice, port, number = random.Random(13), free_port(), MESSAGES
    url, database_url = f"http://127.0.0.1:{port}", f"sqlite:///{tmp_path}/notifications.db"
    phones = [f"+4930{one:06}" for one in range(number // OF_ONE_PERSON)]
    with ExitStack() as stack:
        server = stack.enter_context(twilio.serving())
        environment = service_environment(
            tmp_path,
            port,
            SMS_TIMEOUT_SECONDS=str(TIMEOUT_SECONDS),
            SMS_RETRY_SECONDS="0.02",
            SMS_DAILY_MAX="100000",
            SMS_PER_NUMBER_DAILY="10000",
            AUTH_URL="http://127.0.0.1:9",
            AUDIT_URL="http://127.0.0.1:9",
            **{name.upper(): value for name, value in server.settings.items()},
        )
        for each in range(KILLS):
            with forked("services.notifications", environment=environment) as running:
                if each == 0:
                    assert eventually(lambda: is_ready(url), seconds=SECONDS_MAX), running.output
                    ids = [add_person(url, server, phone) for phone in phones]
                    placing = [
                        placed(ids[one % len(ids)], product_name=f"Laptop {one}") for one in range(number)
                    ]
                    server.reply = lambda _: dice.choice(BAD) if dice.random() < 0.3 else Reply()
                    place(url, placing)
                kill_after(running, server, dice.randint(1, MESSAGES // KILLS // 2))
        server.reply = lambda _: Reply()
        sent = select(func.count()).where(DELIVERIES.c.state == "sent")
        with forked("services.notifications", environment=environment) as running:
            wait_until(lambda: read(database_url, sent)[0], number + len(phones), running)

    texts = Counter(one.body for one in server.messages if "Laptop" in one.body)
    unheard = or_(ATTEMPTS.c.finished.is_(None), ATTEMPTS.c.outcome == "unknown")
    doubtful = read(database_url, select(ATTEMPTS.c.delivery_id).where(unheard))
    print(f"{number} messages, {KILLS} kills, {len(server.calls)} calls, {len(doubtful)} unheard, ", end="")
    print(f"{sum(texts.values()) - len(texts)} copies")
    assert len(texts) == number
    assert {text: copies for text, copies in texts.items() if copies > 1} == {}
