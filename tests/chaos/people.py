"""The load: people of `gatehouse load` who repeat an order until they get a response, and remember it.

An order has an Idempotency-Key, so that it is placed once however often it is sent, and to whichever gateway.
"""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from gatehouse.load.client import Client, Failed, Response
from gatehouse.load.journey import Journey, Person
from gatehouse.load.measure import Measured
from gatehouse.load.running import Plan, run

SHARES = {"order": 45.0, "me": 20.0, "list": 15.0, "audit": 7.0, "file": 8.0, "login": 2.0, "register": 3.0}
REPEAT_SECONDS = 0.25
WINDOW_SECONDS = 2.0
GIVE_UP_SECONDS = 120.0
TIMEOUT_SECONDS = 15.0
_AGAIN = (401, 429)


@dataclass
class Acknowledged:
    """What the suite said it had done."""

    orders: dict[str, tuple[str, int]] = field(default_factory=dict)  # by key: id and pieces
    files: list[tuple[str, Person]] = field(default_factory=list)
    accounts: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)  # keys whose outcome is unknown
    wrong: list[str] = field(default_factory=list)  # responses that nobody should have got
    refused: Counter[str] = field(default_factory=Counter)


class Gateways(Client):
    """Sends requests to both gateways in turn."""

    def __init__(self, urls: list[str]) -> None:
        super().__init__(urls[0], timeout=TIMEOUT_SECONDS)
        self._clients = [Client(url, timeout=TIMEOUT_SECONDS) for url in urls]
        self._next = 0

    async def request(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> Response:
        self._next = (self._next + 1) % len(self._clients)
        return await self._clients[self._next].request(method, path, headers, body)

    def close(self) -> None:
        for client in self._clients:
            client.close()


class People(Journey):
    """The journey of `gatehouse load`, with products whose stock is counted."""

    def __init__(self, client: Client, seed: int, product_id: str) -> None:
        super().__init__(client, seed)
        self._product_id = product_id
        self.acknowledged = Acknowledged()
        self.requests = 0

    async def _order(self, person: Person) -> Response:
        key, pieces = uuid4().hex, 1 + len(self.acknowledged.orders) % 3
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while True:
            response = await self._attempt(person, key, pieces)
            if response is not None:
                return response
            if time.monotonic() > deadline:
                self.acknowledged.given_up.append(key)
                raise Failed("given_up")
            await asyncio.sleep(REPEAT_SECONDS)

    async def _attempt(self, person: Person, key: str, pieces: int) -> Response | None:
        """Send an order; return its final response, or None if it is to be sent again."""
        order = {"lines": [{"product_id": self._product_id, "quantity": pieces}]}
        try:
            response = await self._post("/orders", order, person.headers | {"Idempotency-Key": key})
        except Failed as error:
            self.acknowledged.refused[error.code] += 1
            return None
        if response.status == 201:
            self.acknowledged.orders[key] = (response.json()["id"], pieces)
            return response
        self.acknowledged.refused[response.code] += 1
        if response.status == 401:
            await self._signed_in(person)
        if response.status >= 500 or response.status in _AGAIN or response.code == "request_in_progress":
            return None
        self.acknowledged.wrong.append(f"order: {response.status} {response.code}")
        return response

    async def _signed_in(self, person: Person) -> None:
        try:
            await self._login(person)
        except Failed as error:
            self.acknowledged.refused[error.code] += 1

    async def _file(self, person: Person) -> Response:
        response = await super()._file(person)
        if response.status == 201:
            self.acknowledged.files.append((response.json()["id"], person))
        return response

    async def _register(self) -> Response:
        response = await super()._register()
        if response.status == 201:
            self.acknowledged.accounts.append(self.people[-1].email)
        return response

    async def place_one(self) -> float:
        """Place an order like everybody else; return how long that took."""
        began = time.monotonic()
        await self._order(self._chance.choice(self.people))
        return time.monotonic() - began

    async def until_stopped(self, rate: float, stopped: asyncio.Event) -> None:
        """Put the load on both gateways until the end, and wait for what is under way."""
        plan = Plan(rate, WINDOW_SECONDS, SHARES)
        parts: list[asyncio.Task[Measured]] = []
        while not stopped.is_set():
            # A part also waits for its last responses; people go on arriving meanwhile.
            parts.append(asyncio.create_task(run(self, plan, lambda _: None)))
            await asyncio.sleep(WINDOW_SECONDS)
        for part in parts:
            for step in (await part).steps.values():
                self.requests += step.times.count


async def json_of(
    client: Client, method: str, path: str, headers: dict[str, str], body: object = None
) -> Any:
    """Call an endpoint that has to work soon; return the document in its response."""
    content = b"" if body is None else json.dumps(body).encode()
    more = {"Content-Type": "application/json"} if content else {}
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while True:
        said = ""
        try:
            response = await client.request(method, path, headers | more, content)
        except Failed as error:
            said = error.code
        else:
            if response.status < 300:
                return response.json() if response.body else None
            said = f"{response.status} {response.code}"
            assert response.status >= 500 or response.status in _AGAIN, (method, path, said)
        assert time.monotonic() < deadline, (method, path, said)
        await asyncio.sleep(REPEAT_SECONDS)
