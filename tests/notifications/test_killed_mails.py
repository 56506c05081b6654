"""The service is killed at random while it sends: every mail arrives, and each copy is due to a kill."""

import random
import signal
from collections import Counter
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from contracts.events import MailRequested
from contracts.links import seal_link
from services.notifications.models import ATTEMPTS, DELIVERIES
from shared.clock import now
from shared.data.database import Database
from shared.events.event import Sealed
from shared.ids import new_id
from shared.testing import TEST_INTERNAL_SECRET, bearer, internal_token
from tests.notifications import smtp
from tests.notifications.smtp import Server
from tests.shared.processes import SECONDS_MAX, Running, forked, service_environment
from tests.support import eventually, free_port, length

pytestmark = pytest.mark.prove

KILLS = int(length(10))
MAILS = max(200, 8 * KILLS)  # `make prove LENGTH=30` sends 2,400, with 300 kills
PATIENCE = 3 * SECONDS_MAX + MAILS / 10
AT_ONCE = 100
LINK = "https://api.example.com/auth/reset?token=abc"


def requests(number: int) -> list[MailRequested]:
    made = []
    for each in range(number):
        mail_id, to = new_id(), f"person{each}@example.com"
        made.append(
            MailRequested(
                mail_id=mail_id,
                template="reset_password",
                email=to,
                account_id=None,
                link=seal_link([TEST_INTERNAL_SECRET], mail_id, LINK),
                expires=now() + timedelta(hours=1),
                values={"email": to, "origin": "https://api.example.com"},
                created=now(),
            )
        )
    return made


def deliver(url: str, events: list[MailRequested]) -> None:
    headers = bearer(internal_token("notifications", issuer="auth")) | {"Content-Type": "application/json"}
    for start in range(0, len(events), AT_ONCE):
        bodies = ",".join(Sealed("auth", one).body for one in events[start : start + AT_ONCE])
        told = httpx.post(
            f"{url}/internal/events", content=f'{{"events":[{bodies}]}}', headers=headers, timeout=SECONDS_MAX
        )
        assert told.status_code == 204, told.text


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live", timeout=SECONDS_MAX).status_code == 200
    except httpx.TransportError:
        return False


def counted(url: str, state: str) -> int:
    database = Database(url, pool_size=1)
    try:
        with database.transaction(write=False) as session:
            some = select(func.count()).where(DELIVERIES.c.state == state)
            number: int = session.connection().execute(some).scalar_one()
            return number
    finally:
        database.close()


def unfinished(url: str) -> Counter[str]:
    """Count the attempts of each mail whose process died meanwhile."""
    database = Database(url, pool_size=1)
    try:
        with database.transaction(write=False) as session:
            died = select(ATTEMPTS.c.delivery_id).where(ATTEMPTS.c.finished.is_(None))
            return Counter(session.connection().execute(died).scalars())
    finally:
        database.close()


def kill_while_sending(running: Running, server: Server, goal: int) -> None:
    assert eventually(lambda: len(server.ids) >= goal, seconds=2 * SECONDS_MAX), running.output
    running.send(signal.SIGKILL)
    running.code()


def test_every_mail_arrives_and_only_interrupted_attempts_cause_copies(tmp_path: Path) -> None:
    events, dice, port = requests(MAILS), random.Random(13), free_port()
    url, database_url = f"http://127.0.0.1:{port}", f"sqlite:///{tmp_path}/notifications.db"
    nowhere = {"AUTH_URL": "http://127.0.0.1:9", "AUDIT_URL": "http://127.0.0.1:9"}
    with ExitStack() as stack:
        server = stack.enter_context(smtp.serving())
        environment = service_environment(
            tmp_path,
            port,
            SMTP_URL=f"smtp://127.0.0.1:{server.port}",
            MAIL_FROM="no-reply@example.com",
            MAIL_TIMEOUT_SECONDS="1",
            **nowhere,
        )
        with forked("services.notifications", environment=environment) as running:
            assert eventually(lambda: is_ready(url), seconds=SECONDS_MAX), running.output
            deliver(url, events)
            kill_while_sending(running, server, dice.randint(1, MAILS // KILLS // 2))
        for _ in range(KILLS - 1):
            goal = min(len(server.ids) + dice.randint(1, MAILS // KILLS // 2), len(events))
            with forked("services.notifications", environment=environment) as running:
                kill_while_sending(running, server, goal)
        with forked("services.notifications", environment=environment) as running:
            all_sent = eventually(lambda: counted(database_url, "sent") == len(events), seconds=PATIENCE)
            assert all_sent, running.output

    copies = Counter(one.partition("@")[0].strip("<") for one in server.ids)
    died = unfinished(database_url)
    print(f"{len(events)} mails, {KILLS} kills, {sum(died.values())} interrupted attempts, ", end="")
    print(f"{sum(copies.values()) - len(copies)} copies")
    assert copies.keys() == {one.mail_id for one in events}
    assert {one: number for one, number in copies.items() if number > 1 + died[one]} == {}
