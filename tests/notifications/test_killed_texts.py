"""The service is killed at random while it texts by a bad Twilio: every message arrives exactly once."""

import random
import re
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, or_, select

from services.notifications.models import ATTEMPTS, DELIVERIES
from shared.ids import new_id
from shared.testing import bearer, token
from tests.notifications import twilio
from tests.notifications.support import account, placed
from tests.notifications.test_killed_mails import AT_ONCE, is_ready
from tests.notifications.test_killed_webhooks import deliver, kill, read
from tests.notifications.twilio import Reply, Twilio
from tests.shared.processes import SECONDS_MAX, Running, forked, service_environment
from tests.support import eventually, free_port, length

pytestmark = pytest.mark.prove

KILLS = int(length(8))
MESSAGES = max(120, 8 * KILLS)  # `make prove LENGTH=38` sends 2,400, with 300 kills
PATIENCE = 3 * SECONDS_MAX + MESSAGES / 10
TIMEOUT_SECONDS = 0.5
NUMBER = "+4930123456"
BAD = (
    Reply(429, headers={"Retry-After": "0"}, accepts=False),
    Reply(500, accepts=False),
    Reply(500, accepts=True),
    Reply(hangs=True),
    Reply(late=2 * TIMEOUT_SECONDS),
)


def begin(url: str, server: Twilio, number: int) -> None:
    """Confirm a phone, then place orders of which their owner wants text messages."""
    user_id = new_id()
    headers = bearer(token(user_id))
    deliver(url, "auth", [account(user_id)])
    with httpx.Client(base_url=url, headers=headers, timeout=SECONDS_MAX) as client:
        assert client.put("/notifications/phone", json={"number": NUMBER}).status_code == 200
        assert eventually(lambda: server.to(NUMBER) != [], seconds=SECONDS_MAX)
        code = re.search(r"\b[0-9]{6}\b", server.to(NUMBER)[0])
        assert code is not None
        assert client.post("/notifications/phone/confirm", json={"code": code[0]}).status_code == 200
        wanted = {"choices": [{"type": "order.placed", "channel": "sms", "on": True}]}
        assert client.put("/notifications/preferences", json=wanted).status_code == 200
    orders = [placed(user_id, product_name=f"Laptop {each}") for each in range(number)]
    for start in range(0, number, AT_ONCE):
        deliver(url, "orders", orders[start : start + AT_ONCE])


def kill_after(running: Running, server: Twilio, calls: int) -> None:
    goal = len(server.calls) + calls
    assert eventually(lambda: len(server.calls) >= goal, seconds=2 * SECONDS_MAX), running.output
    kill(running)


def test_every_message_arrives_exactly_once(tmp_path: Path) -> None:
    dice, port, number = random.Random(13), free_port(), MESSAGES
    url, database_url = f"http://127.0.0.1:{port}", f"sqlite:///{tmp_path}/notifications.db"
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
                    begin(url, server, number)
                    server.reply = lambda _: dice.choice(BAD) if dice.random() < 0.3 else Reply()
                kill_after(running, server, dice.randint(1, MESSAGES // KILLS // 2))
        server.reply = lambda _: Reply()
        sent = select(func.count()).where(DELIVERIES.c.state == "sent")
        with forked("services.notifications", environment=environment) as running:
            all_sent = eventually(lambda: read(database_url, sent) == [number + 1], seconds=PATIENCE)
            assert all_sent, (read(database_url, sent), running.output)

    texts = Counter(body for body in server.to(NUMBER) if "Laptop" in body)
    unheard = or_(ATTEMPTS.c.finished.is_(None), ATTEMPTS.c.outcome == "unknown")
    doubtful = read(database_url, select(ATTEMPTS.c.delivery_id).where(unheard))
    print(f"{number} messages, {KILLS} kills, {len(server.calls)} calls, {len(doubtful)} unheard, ", end="")
    print(f"{sum(texts.values()) - len(texts)} copies")
    assert len(texts) == number
    assert {text: copies for text, copies in texts.items() if copies > 1} == {}
