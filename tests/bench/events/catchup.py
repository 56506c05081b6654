"""How long a subscriber takes to catch up after an outage, and how this affects ordinary requests.

    python -m tests.bench.events.catchup [--database sqlite|postgresql] [--transport http|redis]
                                         [--events N] [--away SECONDS]

Orders and audit share one core, with PostgreSQL and Redis if requested. Requests come from the other core at
a constant rate, however slow the responses are. They are timed at rest, and while the audit service receives
its backlog.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import jwt
from sqlalchemy import Table, func, select

from contracts.events import SUBSCRIBERS
from services.audit.models import RECORDS
from services.orders.models import EVENTS
from shared.clock import now
from shared.data.database import Database
from shared.events import Recorded, emit
from shared.events.outbox import OUTBOX, Outbox
from shared.events.streams import BROKER
from shared.ids import new_id
from tests import support
from tests.bench.events.readers import done_with_everything
from tests.bench.events.servers import sink
from tests.bench.processes import (
    JWT_SECRET,
    LOAD_CORE,
    SERVER_CORE,
    Server,
    core_seconds,
    cpu_seconds,
    stopping,
)

EVENTS_WAITING = 50_000
WANTED_SECONDS, WANTED_RATIO = 60, 2.0
WARM_SECONDS, REST_SECONDS = 5, 30
AWAY_SECONDS = 10
CATCH_UP_SECONDS_MAX = 300
PEOPLE = 500
REQUESTS_PER_SECOND = 20  # of each kind
ORDER = json.dumps({"product_name": "Laptop", "quantity": 1, "total_price": 999.99})
SECRETS = {
    "INTERNAL_SECRET": "7c1d0a3be2f945868b1de4a70c93f215",
    "KEY_SECRET": "c0ffee31a5d24b78916a2f3e4d5b6c70",
}
PERSON = new_id()
CONNECTIONS = 8
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Kind:
    """One kind of request, with latencies in ms by phase."""

    name: str
    port: int
    message: bytes
    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def p99(self, phase: str) -> float:
        return statistics.quantiles(self.times[phase], n=100)[98]


class Load:
    """Requests at a constant rate, each on a free connection, timed from its due time."""

    def __init__(self, kinds: list[Kind], phase: str) -> None:
        self._kinds, self._phase = kinds, phase

    async def until(self, is_over: Callable[[], bool]) -> None:
        sending = [
            asyncio.create_task(self._send(kind, number / len(self._kinds)))
            for number, kind in enumerate(self._kinds)
        ]
        while not await asyncio.to_thread(is_over):
            await asyncio.sleep(0.2)
            for one in sending:
                if one.done():
                    one.result()
        for one in sending:
            one.cancel()
        await asyncio.wait(sending)

    async def _send(self, kind: Kind, offset: float) -> None:
        free: asyncio.Queue[Connection] = asyncio.Queue()
        for _ in range(CONNECTIONS):
            free.put_nowait(await asyncio.open_connection("127.0.0.1", kind.port))
        loop = asyncio.get_running_loop()
        due = loop.time() + offset / REQUESTS_PER_SECOND
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(due - loop.time())
                group.create_task(self._one(kind, due, free))
                due += 1 / REQUESTS_PER_SECOND

    async def _one(self, kind: Kind, due: float, free: "asyncio.Queue[Connection]") -> None:
        reader, writer = await free.get()
        writer.write(kind.message)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        await reader.readexactly(int(head.partition("content-length:")[2].split()[0]))
        if head.split()[1] not in ("200", "201"):
            raise RuntimeError(f"{kind.name}: {head}")
        kind.times[self._phase].append((asyncio.get_running_loop().time() - due) * 1000)
        free.put_nowait((reader, writer))


class Bench:
    """The two services, the transport between them, and the backlog."""

    def __init__(self, folder: Path, stack: ExitStack, options: argparse.Namespace) -> None:
        self._folder, self._stack, self._number = folder, stack, options.events
        os.sched_setaffinity(0, {int(SERVER_CORE)})  # inherited by the servers
        redis = stack.enter_context(support.redis_server()).url if options.transport == "redis" else ""
        urls = {name: f"sqlite:///{folder}/{name}.db" for name in ("orders", "audit")}
        if options.database == "postgresql":
            server = stack.enter_context(support.postgresql())
            urls = {name: stack.enter_context(support.new_database(server, name)) for name in urls}
        os.sched_setaffinity(0, {int(LOAD_CORE)})
        if redis:
            stack.enter_context(done_with_everything(redis, SUBSCRIBERS.keys() - urls.keys()))
        self._settings = {
            **SECRETS,
            "REDIS_URL": redis,
            "LOG_FORMAT": "json",
            "AUTH_URL": "http://127.0.0.1:1",
        }
        self._urls, self._audit_port = urls, support.free_port()
        self.audit = self._audit()
        # The other subscriber of orders is always there, and costs the measured core nothing.
        others = stack.enter_context(sink(folder))
        audit = f"http://127.0.0.1:{self._audit_port}"
        self.orders = self._started("orders", AUDIT_URL=audit, NOTIFICATIONS_URL=others.url(""))
        self.databases = {name: Database(url, pool_size=2) for name, url in urls.items()}
        for database in self.databases.values():
            stack.callback(database.close)
        self.databases["orders"].session_info[OUTBOX] = Outbox(
            EVENTS, "orders", {Recorded.topic: [BROKER if redis else "audit"]}
        )

    def _audit(self) -> Server:
        return self._started("audit", port=self._audit_port)

    def _started(self, name: str, *, port: int = 0, **more: str) -> Server:
        server = Server(
            f"services.{name}",
            self._folder,
            port=port,
            DATABASE_URL=self._urls[name],
            **self._settings,
            **more,
        )
        self._stack.enter_context(stopping(server))
        return server

    def kinds(self) -> list[Kind]:
        order = _message("POST", "/orders", ORDER)
        return [
            Kind("POST /orders", self.orders.port, order),
            Kind("GET /orders", self.orders.port, _message("GET", "/orders?limit=20")),
            Kind("GET /audit/logs", self._audit_port, _message("GET", "/audit/logs?limit=20")),
        ]

    def stop_audit(self) -> None:
        self.audit.stop()

    def start_audit(self) -> None:
        self.audit = self._audit()

    def fill(self) -> None:
        people = [new_id() for _ in range(PEOPLE)]
        for start in range(0, self._number, 1000):
            with self.databases["orders"].transaction() as session:
                for number in range(start, min(start + 1000, self._number)):
                    emit(session, _record(people[number % PEOPLE]))

    def waiting(self) -> int:
        return self._count("orders", EVENTS.outbox)

    def kept(self) -> int:
        return self._count("audit", RECORDS)

    def _count(self, name: str, table: Table) -> int:
        with self.databases[name].transaction(write=False) as session:
            return session.connection().execute(select(func.count()).select_from(table)).scalar_one()

    def cpu(self) -> tuple[float, float, float]:
        return cpu_seconds([self.orders.pid]), cpu_seconds([self.audit.pid]), core_seconds(SERVER_CORE)


def _record(user_id: str) -> Recorded:
    return Recorded(
        user_id=user_id,
        actor=f"user:{user_id}",
        action="PLACE_ORDER",
        resource=new_id(),
        ip="203.0.113.7",
        user_agent="Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        timestamp=now(),
        outcome="success",
        status=201,
        service="orders",
        request_id=new_id(),
        trace_id=None,
    )


def _message(method: str, path: str, body: str = "") -> bytes:
    at = int(time.time())
    claims = {"sub": PERSON, "iss": "gatehouse", "aud": "gatehouse", "iat": at, "exp": at + 3600}
    token = jwt.encode(claims, JWT_SECRET, algorithm="HS256", headers={"typ": "at+jwt"})
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "", body]
    return "\r\n".join(lines).encode()


async def measure(bench: Bench, number: int, away_seconds: float) -> None:
    kinds = bench.kinds()
    for phase in ("warm", "at rest"):
        over = time.monotonic() + (REST_SECONDS if phase == "at rest" else WARM_SECONDS)
        await Load(kinds, phase).until(lambda over=over: time.monotonic() > over)  # type: ignore[misc]
    await _eventually(lambda: bench.waiting() == 0)
    bench.stop_audit()
    bench.fill()
    print(
        f"{bench.waiting():,} events are waiting; the audit service stays down for {away_seconds:.0f} s …",
        flush=True,
    )
    await asyncio.sleep(away_seconds)
    before = bench.kept()
    began = time.monotonic()
    bench.start_audit()
    spent = bench.cpu()
    deadline = began + CATCH_UP_SECONDS_MAX
    load = Load(kinds, "catching up")
    await load.until(lambda: bench.kept() >= before + number or time.monotonic() > deadline)
    seconds = time.monotonic() - began
    used = [after - at_first for after, at_first in zip(bench.cpu(), spent, strict=True)]
    if bench.kept() < before + number:
        sys.exit(
            f"not caught up after {seconds:.0f} s: "
            f"{bench.waiting():,} waiting, {bench.kept() - before:,} received"
        )
    _print(kinds, seconds, used, number)


async def _eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(CATCH_UP_SECONDS_MAX):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - other processes set no event
            await asyncio.sleep(0.1)


def _print(kinds: list[Kind], seconds: float, used: list[float], number: int) -> None:
    verdict = "yes" if seconds <= WANTED_SECONDS else "NOT REACHED"
    print(f"caught up with {number:,} events in {seconds:.1f} s, wanted {WANTED_SECONDS} s: {verdict}")
    print(
        f"CPU, requests included: orders {used[0]:.1f} s, audit {used[1]:.1f} s, whole core {used[2]:.1f} s"
    )
    print(f"{'':<18}{'p50 at rest':>14}{'catching up':>14}{'p99 at rest':>14}{'catching up':>14}{'ratio':>8}")
    for kind in kinds:
        rest, busy = kind.times["at rest"], kind.times["catching up"]
        ratio = kind.p99("catching up") / kind.p99("at rest")
        figures = (
            statistics.median(rest),
            statistics.median(busy),
            kind.p99("at rest"),
            kind.p99("catching up"),
        )
        shown = "".join(f"{figure:>11.1f} ms" for figure in figures)
        verdict = "" if ratio <= WANTED_RATIO else f"   wanted {WANTED_RATIO}: NOT REACHED"
        print(f"{kind.name:<18}{shown}{ratio:>8.2f}{verdict}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--transport", choices=["http", "redis"], default="http")
    parser.add_argument("--events", type=int, default=EVENTS_WAITING)
    parser.add_argument(
        "--away", type=float, default=AWAY_SECONDS, help="seconds for which the audit service is down"
    )
    options = parser.parse_args(arguments)
    print(f"\nEvents after an outage: {options.database}, over {options.transport}", flush=True)
    cores = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        try:
            asyncio.run(measure(Bench(Path(name), stack, options), options.events, options.away))
        finally:
            os.sched_setaffinity(0, cores)


if __name__ == "__main__":
    main()
