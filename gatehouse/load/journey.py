"""What people do: steps with their shares, for accounts that are registered before the load begins."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import uuid4

from gatehouse.load import NotRun
from gatehouse.load.client import Client, Failed, Response

# Percent. Sign-ins and registrations stay below the limits of the routes at 200 requests a second.
SHARES = {"me": 37.5, "list": 25.0, "order": 20.0, "audit": 10.0, "file": 5.0, "login": 2.0, "register": 0.5}
_PASSWORD = "correct horse battery staple"  # noqa: S105 - of accounts that the load makes itself
_JSON = {"Content-Type": "application/json"}
_REGISTERING = 4  # at once, before the load
_ATTEMPTS = 60
_TOO_MANY = 429


@dataclass(slots=True)
class Person:
    """An account with its token, and what the suite has acknowledged to it."""

    email: str
    headers: dict[str, str]
    orders: list[str] = field(default_factory=list)


class Journey:
    """The steps that one arrival may take."""

    def __init__(self, client: Client, seed: int | None = None) -> None:
        self._client = client
        self._chance = random.Random(seed)  # noqa: S311 - no secret
        self.people: list[Person] = []
        self.steps: dict[str, Callable[[Person], Awaitable[Response]]] = {
            "me": lambda person: self._get("/users/me", person),
            "list": lambda person: self._get("/orders?limit=20", person),
            "audit": lambda person: self._get("/audit/logs?limit=20", person),
            "order": self._order,
            "file": self._file,
            "login": self._login,
            "register": lambda _: self._register(),
        }

    async def prepare(self, people: int) -> None:
        """Register the accounts; wait where the suite limits registrations."""
        gate = asyncio.Semaphore(_REGISTERING)

        async def one() -> None:
            async with gate:
                await self._registered()

        await asyncio.gather(*(one() for _ in range(people)))

    async def _registered(self) -> None:
        for _ in range(_ATTEMPTS):
            try:
                response = await self._register()
            except Failed as error:
                raise NotRun(f"no account could be registered: {error.code}") from None
            if response.status == 201:
                return
            if response.status != _TOO_MANY:
                raise NotRun(f"no account could be registered: {response.status} {response.code}")
            await asyncio.sleep(float(response.headers.get(b"retry-after", b"1")))
        raise NotRun("the suite limits registrations, so the accounts cannot be made; use fewer --users")

    def choose(self, shares: dict[str, float]) -> tuple[str, Person]:
        (name,) = self._chance.choices(list(shares), weights=list(shares.values()))
        return name, self._chance.choice(self.people)

    def pause(self, rate: float) -> float:
        """Return the seconds until the next arrival: people do not arrive in step."""
        return self._chance.expovariate(rate)

    # The steps.

    async def _get(self, path: str, person: Person) -> Response:
        return await self._client.request("GET", path, person.headers)

    async def _post(self, path: str, document: object, headers: dict[str, str]) -> Response:
        return await self._client.request("POST", path, headers | _JSON, json.dumps(document).encode())

    async def _register(self) -> Response:
        email = f"load-{uuid4()}@example.com"
        response = await self._post("/auth/register", {"email": email, "password": _PASSWORD}, {})
        if response.status == 201:
            self.people.append(Person(email, _bearer(response)))
        return response

    async def _login(self, person: Person) -> Response:
        credentials = {"email": person.email, "password": _PASSWORD}
        response = await self._post("/auth/login", credentials, {})
        if response.status == 200:
            person.headers = _bearer(response)
        return response

    async def _order(self, person: Person) -> Response:
        order = {"product_name": "Laptop", "quantity": 1, "total_price": 999.99}
        response = await self._post("/orders", order, person.headers)
        if response.status == 201:
            person.orders.append(response.json()["id"])
        return response

    async def _file(self, person: Person) -> Response:
        mark = uuid4().hex
        head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{mark}.txt"\r\n'
        body = f"{head}Content-Type: text/plain\r\n\r\n{mark * 32}\r\n--{mark}--\r\n".encode()
        headers = person.headers | {"Content-Type": f"multipart/form-data; boundary={mark}"}
        return await self._client.request("POST", "/files", headers, body)


def _bearer(response: Response) -> dict[str, str]:
    return {"Authorization": f"Bearer {response.json()['token']}"}
