"""What must be true after all faults: nothing acknowledged is lost, and nothing happened twice."""

import asyncio
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, LiteralString, Protocol

import psycopg

from tests.chaos.people import Gateways, People, json_of
from tests.notifications import smtp

REST_SECONDS = 180.0
READING = 8  # files at once
EXAMPLES = 3


class Place(Protocol):
    """What is compared, and where: a suite of this machine, or one in containers."""

    @property
    def databases(self) -> Mapping[str, str]: ...  # by service
    @property
    def services(self) -> Sequence[str]: ...
    @property
    def urls(self) -> list[str]: ...  # of the gateways
    @property
    def mails(self) -> smtp.Server | None: ...  # None if the suite sends none


class Ledger:
    """The databases of the services, read directly."""

    def __init__(self, databases: Mapping[str, str]) -> None:
        self._databases = databases

    def rows(self, service: str, statement: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        url = self._databases[service]
        if url.startswith("sqlite"):
            file = f"file:{url.removeprefix('sqlite:///')}?mode=ro"
            with closing(sqlite3.connect(file, uri=True, timeout=30)) as reader:
                return reader.execute(statement.replace("%s", "?"), values).fetchall()
        with psycopg.connect(url) as connection:
            return connection.execute(statement, values).fetchall()

    def number(self, service: str, statement: LiteralString, *values: object) -> int:
        ((number,),) = self.rows(service, statement, *values)
        return int(number)

    def unfinished(self) -> dict[str, int]:
        """Count what is still under way, by service and kind; dead events stay, and so are found later."""
        found: dict[str, int] = {}
        for service in self._databases:
            found[f"{service}: events to send"] = self.number(service, "SELECT count(*) FROM outbox")
            alive = "SELECT count(*) FROM parked WHERE NOT dead"
            found[f"{service}: events to retry"] = self.number(service, alive)
        waiting = "SELECT count(*) FROM deliveries WHERE state IN ('queued', 'sending')"
        found["notifications: mails to send"] = self.number("notifications", waiting)
        return {name: number for name, number in found.items() if number}


def come_to_rest(ledger: Ledger) -> tuple[float, dict[str, int]]:
    """Wait until nothing is under way; return how long that took, and what never ended."""
    began = time.monotonic()
    while (left := ledger.unfinished()) and time.monotonic() - began < REST_SECONDS:
        time.sleep(0.25)
    return time.monotonic() - began, left


async def reconcile(scene: Place, people: People, admin: dict[str, str], product_id: str) -> list[str]:
    """Return a sentence for everything that is not as it must be."""
    ledger = Ledger(scene.databases)
    seconds, left = await asyncio.to_thread(come_to_rest, ledger)
    faults = [f"{number} {name} after {seconds:.0f} s" for name, number in left.items()]
    said = people.acknowledged
    faults += said.wrong[:EXAMPLES]
    faults += [f"order {key} got no response" for key in said.given_up[:EXAMPLES]]
    faults += _orders(ledger, people)
    faults += _stock(ledger, people, product_id)
    faults += _records(ledger, people)
    faults += _notifications(ledger, people)
    faults += [] if scene.mails is None else _mails(ledger, scene.mails)
    faults += _dead(ledger, scene.services)
    faults += await _files(people, Gateways(scene.urls))
    faults += await _log(Gateways(scene.urls[:1]), admin)
    return faults


def _ids(people: People) -> list[str]:
    return [order_id for order_id, _ in people.acknowledged.orders.values()]


def _orders(ledger: Ledger, people: People) -> Iterator[str]:
    placed, ids = Counter(_ids(people)), set(_ids(people))
    stored = {row[0] for row in ledger.rows("orders", "SELECT id FROM orders")}
    yield from _named(
        "orders acknowledged under two keys", [one for one, times in placed.items() if times > 1]
    )
    yield from _named("orders lost", ids - stored)
    if not people.acknowledged.given_up:
        yield from _named("orders placed twice", stored - ids)
    steps = ledger.rows("orders", "SELECT order_id, count(*) FROM order_steps GROUP BY order_id")
    yield from _named("orders without exactly one step", _not_once(stored, steps))


def _stock(ledger: Ledger, people: People, product_id: str) -> Iterator[str]:
    """The pieces reserved are those of the lines, and the sum of the moves is the stock."""
    lines = ledger.number(
        "orders", "SELECT coalesce(sum(quantity), 0) FROM order_lines WHERE product_id = %s", product_id
    )
    reserved = ledger.number("orders", "SELECT reserved FROM stock_levels WHERE product_id = %s", product_id)
    moves = ledger.number(
        "orders",
        "SELECT coalesce(sum(quantity), 0) FROM stock_moves WHERE product_id = %s AND kind = 'reserve'",
        product_id,
    )
    said = sum(pieces for _, pieces in people.acknowledged.orders.values())
    if len({lines, reserved, moves}) > 1 or (said != lines and not people.acknowledged.given_up):
        yield f"stock: {said} pieces acknowledged, {lines} in lines, {reserved} reserved, {moves} in moves"


def _records(ledger: Ledger, people: People) -> Iterator[str]:
    """Each acknowledged order and file has exactly one record in the audit log."""
    for service, action, ids in (
        ("orders", "PLACE_ORDER", set(_ids(people))),
        ("files", "FILE_UPLOAD", {file_id for file_id, _ in people.acknowledged.files}),
    ):
        found = ledger.rows(
            "audit",
            "SELECT resource, count(*) FROM records WHERE service = %s AND action = %s"
            " AND outcome = 'success' GROUP BY resource",
            *(service, action),
        )
        yield from _named(f"{action} without exactly one record", _not_once(ids, found))
    twice = ledger.rows("audit", "SELECT id FROM records GROUP BY id HAVING count(*) > 1 LIMIT 10")
    yield from _named("records stored twice", [row[0] for row in twice])


def _notifications(ledger: Ledger, people: People) -> Iterator[str]:
    """Each event of an order arrived once at its subscriber, which stored one notification."""
    found = ledger.rows(
        "notifications",
        "SELECT data, count(*) FROM notifications WHERE type = 'order.placed' GROUP BY data",
    )
    times = Counter[str]()
    for data, number in found:
        times[json.loads(data)["order_id"]] += number
    yield from _named(
        "orders without exactly one notification", _not_once(set(_ids(people)), [*times.items()])
    )


def _mails(ledger: Ledger, server: smtp.Server) -> Iterator[str]:
    """Whoever was to get a link by mail has got it; a mail that was sent again has the same Message-ID.

    The links are those that auth committed. It mails only some of many accounts from one address.
    """
    arrived = server.ids
    sent = ledger.number("notifications", "SELECT count(*) FROM deliveries WHERE state = 'sent'")
    other = ledger.rows(
        "notifications", "SELECT state, count(*) FROM deliveries WHERE state <> 'sent' GROUP BY 1"
    )
    if other:
        yield f"mails that were not sent: {dict(other)}"
    if len(set(arrived)) != sent:
        yield f"mails: {sent} sent, {len(set(arrived))} arrived"
    addressed = {str(mail["To"]) for mail in server.mails}
    links = {str(row[0]) for row in ledger.rows("auth", "SELECT email FROM mail_tokens")}
    yield from _named("links that were not mailed", links - addressed)


def _dead(ledger: Ledger, services: Sequence[str]) -> Iterator[str]:
    for service in services:
        rows = ledger.rows(service, "SELECT topic, reason FROM parked WHERE dead LIMIT 3")
        yield from (f"{service} gave up {topic}: {reason}" for topic, reason in rows)


async def _files(people: People, client: Gateways) -> list[str]:
    """Every acknowledged file can be read."""
    gate, lost = asyncio.Semaphore(READING), []

    async def read(file_id: str, headers: dict[str, str]) -> None:
        async with gate:
            response = await client.request("GET", f"/files/{file_id}", headers)
            if response.status != 200:
                lost.append(f"{file_id} ({response.status})")

    for person in {id(person): person for _, person in people.acknowledged.files}.values():
        await people.steps["login"](person)  # tokens may have expired
    await asyncio.gather(*(read(one, person.headers) for one, person in people.acknowledged.files))
    client.close()
    return [*_named("files lost", lost)]


async def _log(client: Gateways, admin: dict[str, str]) -> list[str]:
    """The audit log verifies from its first record to its last."""
    since, faults = 0, []
    while True:
        checked = await json_of(client, "GET", f"/audit/verify?from={since}", admin)
        if not checked["intact"] or checked["unproven"]:
            faults.append(f"audit log: {checked['faults'] or checked['unproven']}")
        if checked["next"] is None:
            client.close()
            return faults
        since = checked["next"]


def _not_once(ids: set[str], counted: Sequence[tuple[Any, ...]]) -> list[str]:
    times = {str(row[0]): int(row[1]) for row in counted}
    return [f"{one} ({times.get(one, 0)})" for one in ids if times.get(one, 0) != 1]


def _named(what: str, which: Sequence[str] | set[str]) -> Iterator[str]:
    if which:
        yield f"{len(which)} {what}: {', '.join(sorted(which)[:EXAMPLES])}"
