"""The service is killed while it makes and sends digests: everybody gets one, with all that was gathered."""

import random
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from email.message import EmailMessage
from itertools import cycle
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, or_, select, update

from services.notifications.models import ATTEMPTS, DELIVERIES, DIGEST_ITEMS, WORK
from shared.clock import now
from shared.data.database import Database
from shared.ids import new_id
from shared.testing import bearer, token
from tests.notifications import smtp
from tests.notifications.smtp import Server
from tests.notifications.support import account, placed
from tests.notifications.test_killed_mails import is_ready, kill_while_sending
from tests.notifications.test_killed_webhooks import deliver, kill, read
from tests.shared.processes import SECONDS_MAX, forked, service_environment
from tests.support import eventually, free_port, length

pytestmark = pytest.mark.prove

KILLS = int(length(8))
PEOPLE_PER_KILL = 3
ITEMS = 4
# Killed in the transaction of a digest, after its mail was accepted, while that is recorded, or at random.
STEPS = ("digest: sending", "mail: sent", "mail: settling", None)


def begin(url: str, number: int) -> dict[str, str]:
    """Let people want digests, and gather orders for them; return their ids by address."""
    people = {f"person{each}@example.com": new_id() for each in range(number)}
    accounts = [account(one, email=email, email_verified=True) for email, one in people.items()]
    deliver(url, "auth", accounts)
    with httpx.Client(base_url=url, timeout=SECONDS_MAX) as client:
        for one in people.values():
            wanted = {"digest": "hour"}
            chosen = client.put("/notifications/preferences/mails", json=wanted, headers=bearer(token(one)))
            assert chosen.status_code == 200, chosen.text
    for each in range(ITEMS):
        orders = [placed(one, product_name=f"Thing {each} of {email}") for email, one in people.items()]
        deliver(url, "orders", orders)
    return people


def pass_time(database_url: str, people: Sequence[str]) -> None:
    """Make the digests of these people due, and end the leases of the killed process, as time would."""
    database, work = Database(database_url, pool_size=1), WORK.work
    is_due = or_(work.c.queue != "digest", work.c.body.in_(people))
    past = {"due": now() - timedelta(seconds=1), "lease": None}
    with database.transaction() as session:
        session.connection().execute(update(work).where(work.c.given_up.is_(None), is_due).values(past))
    database.close()


def text_of(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def assert_complete(server: Server, people: dict[str, str]) -> None:
    for email in people:
        mails = {str(one["Message-ID"]): one for one in server.to(email)}
        assert len(mails) == 1, f"{email} got {len(mails)} digests"
        for mail in mails.values():
            assert [text_of(mail).count(f"Thing {each} of {email}") for each in range(ITEMS)] == [1] * ITEMS


def test_everybody_gets_one_digest_with_everything_although_the_service_is_killed(tmp_path: Path) -> None:
    dice, port, number = random.Random(13), free_port(), KILLS * PEOPLE_PER_KILL
    url, database_url = f"http://127.0.0.1:{port}", f"sqlite:///{tmp_path}/notifications.db"
    with ExitStack() as stack:
        server = stack.enter_context(smtp.serving())
        environment = service_environment(
            tmp_path,
            port,
            SMTP_URL=f"smtp://127.0.0.1:{server.port}",
            MAIL_FROM="no-reply@example.com",
            MAIL_TIMEOUT_SECONDS="1",
            AUTH_URL="http://127.0.0.1:9",
            AUDIT_URL="http://127.0.0.1:9",
        )
        with forked("services.notifications", environment=environment) as running:
            assert eventually(lambda: is_ready(url), seconds=SECONDS_MAX), running.output
            people = begin(url, number)
            kill(running)
        ids = [*people.values()]
        for each, step in zip(range(KILLS), cycle(STEPS), strict=False):
            pass_time(database_url, ids[: (each + 1) * PEOPLE_PER_KILL])
            if step is None:
                with forked("services.notifications", environment=environment) as running:
                    kill_while_sending(running, server, len(server.ids) + dice.randint(1, PEOPLE_PER_KILL))
            else:
                dying = {**environment, "GATEHOUSE_FAILPOINT": step}
                with forked("services.notifications", environment=dying) as running:
                    assert running.code() == -9, running.output
        pass_time(database_url, ids)
        sent = select(func.count()).where(DELIVERIES.c.state == "sent")
        with forked("services.notifications", environment=environment) as running:
            all_sent = eventually(lambda: read(database_url, sent) == [number], seconds=3 * SECONDS_MAX)
            assert all_sent, running.output

    copies = Counter(one.partition("@")[0].strip("<") for one in server.ids)
    died = Counter(read(database_url, select(ATTEMPTS.c.delivery_id).where(ATTEMPTS.c.finished.is_(None))))
    print(f"{number} digests, {KILLS} kills, {sum(died.values())} interrupted attempts, ", end="")
    print(f"{sum(copies.values()) - len(copies)} copies")
    assert_complete(server, people)
    assert {one: times for one, times in copies.items() if times > 1 + died[one]} == {}
    assert read(database_url, select(DIGEST_ITEMS.c.id)) == []
