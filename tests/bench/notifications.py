"""`python -m tests.bench.notifications`: from the event that asks for a mail to the SMTP server.

The service runs on one core. The other one runs the SMTP server, which accepts everything at once, and the
sender of events, which keeps its pace whatever the service does.
"""

import asyncio
import os
import sys
import tempfile
import time
from email import message_from_bytes
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from contracts.events import MailRequested
from contracts.links import seal_link
from shared.clock import now
from shared.events.event import Sealed
from shared.ids import new_id
from shared.testing import TEST_INTERNAL_SECRET, bearer, internal_token
from tests.bench.processes import LOAD_CORE, Server, cpu_seconds, resident_mib, stopping
from tests.support import free_port

RATE = 200
BATCHES_PER_SECOND = 20
SECONDS = 20
ARRIVE_SECONDS_MAX = 60.0
WANTED_SECONDS = 1.0


class Arrivals:
    """An SMTP server that notes when it has accepted each mail."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}
        self.copies = 0

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        head = message_from_bytes(envelope.content.partition(b"\r\n\r\n")[0])
        mail_id = str(head["Message-ID"]).strip("<>").partition("@")[0]
        self.copies += mail_id in self.at
        self.at.setdefault(mail_id, time.monotonic())
        return "250 OK"


def main() -> None:
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    arrivals = Arrivals()
    controller = Controller(arrivals, hostname="127.0.0.1", port=free_port(), decode_data=False)
    controller.start()
    try:
        with tempfile.TemporaryDirectory(prefix="gatehouse-bench-") as folder:
            service = Server(
                "services.notifications",
                Path(folder),
                INTERNAL_SECRET=TEST_INTERNAL_SECRET,
                SMTP_URL=f"smtp://127.0.0.1:{controller.port}",
                MAIL_FROM="no-reply@example.com",
                AUDIT_URL="http://127.0.0.1:9",
                LOG_FORMAT="json",
            )
            with stopping(service):
                asyncio.run(_measure(service, arrivals))
    finally:
        controller.stop()


async def _measure(service: Server, arrivals: Arrivals) -> None:
    asked: dict[str, float] = {}
    async with httpx.AsyncClient(base_url=service.url(""), timeout=ARRIVE_SECONDS_MAX) as client:
        await _ask(client, _events(BATCHES_PER_SECOND), {})  # so that it has imported everything
        await _arrived(arrivals, BATCHES_PER_SECOND)
        before, began = cpu_seconds([service.pid]), time.monotonic()
        await _pace(client, asked, began)
        await _arrived(arrivals, BATCHES_PER_SECOND + len(asked))
        spent = cpu_seconds([service.pid]) - before
    delays = sorted(arrivals.at[mail_id] - since for mail_id, since in asked.items())
    p50, p99 = (delays[int(len(delays) * part)] for part in (0.5, 0.99))
    verdict = "" if p99 <= WANTED_SECONDS else f"   NOT REACHED, wanted {WANTED_SECONDS:.0f} s"
    print(f"\nMails, {RATE} a second for {SECONDS} s, from the event to the SMTP server\n")
    print(f"p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, worst {delays[-1] * 1000:.0f} ms{verdict}")
    cost, size = spent / len(asked) * 1000, resident_mib(service.pid)
    print(f"CPU {cost:.1f} ms per mail, {size:.0f} MiB resident, {arrivals.copies} copies")


async def _pace(client: httpx.AsyncClient, asked: dict[str, float], began: float) -> None:
    """Send the events at their times, also while earlier ones are still being received."""
    sending: list[asyncio.Task[None]] = []
    for turn in count():
        at = began + turn / BATCHES_PER_SECOND
        if turn == SECONDS * BATCHES_PER_SECOND:
            break
        await asyncio.sleep(max(at - time.monotonic(), 0))
        sending.append(asyncio.create_task(_ask(client, _events(RATE // BATCHES_PER_SECOND), asked)))
    await asyncio.gather(*sending)


async def _ask(client: httpx.AsyncClient, events: list[MailRequested], asked: dict[str, float]) -> None:
    headers = bearer(internal_token("notifications", issuer="auth")) | {"Content-Type": "application/json"}
    bodies = ",".join(Sealed("auth", one).body for one in events)
    asked.update(dict.fromkeys([one.mail_id for one in events], time.monotonic()))
    told = await client.post("/internal/events", content=f'{{"events":[{bodies}]}}', headers=headers)
    if told.status_code != 204:
        sys.exit(f"the service refused events: {told.text}")


def _events(number: int) -> list[MailRequested]:
    return [_event(f"{new_id()}@example.com") for _ in range(number)]


def _event(to: str) -> MailRequested:
    mail_id = new_id()
    values: dict[str, Any] = {"email": to, "origin": "https://api.example.com"}
    return MailRequested(
        mail_id=mail_id,
        template="password_changed",
        email=to,
        account_id=None,
        link=seal_link([TEST_INTERNAL_SECRET], mail_id, "https://api.example.com/"),
        expires=None,
        values=values,
        created=now(),
    )


async def _arrived(arrivals: Arrivals, number: int) -> None:
    try:
        async with asyncio.timeout(ARRIVE_SECONDS_MAX):
            while len(arrivals.at) < number:  # noqa: ASYNC110 - the server runs in a thread of its own
                await asyncio.sleep(0.02)
    except TimeoutError:
        sys.exit(f"only {len(arrivals.at)} of {number} mails arrived")


if __name__ == "__main__":
    main()
