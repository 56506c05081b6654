"""Accounts for the tests of the users service, and the real auth service that owns them."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from contracts.events import AccountChanged, AccountCreated, AccountDeleted
from shared.events import Event
from shared.events.event import Sealed
from shared.ids import new_id
from shared.testing import bearer, internal_token, token
from tests.shared.processes import SECONDS_MAX, forked, service_environment
from tests.support import eventually, free_port

PASSWORD = "correct horse battery 9 Staple"
NOWHERE = "http://127.0.0.1:9"  # the discard port, on which nothing listens

StartUsers = Callable[[str], AbstractAsyncContextManager[httpx.AsyncClient]]


@dataclass(frozen=True, slots=True)
class Person:
    """An account at auth, and the headers of its signed-in owner."""

    account: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.account["id"])

    @property
    def address(self) -> str:
        return f"/users/{self.id}"

    @property
    def headers(self) -> dict[str, str]:
        """The headers with the token of a recent sign-in."""
        return self.signed_in(0)

    def signed_in(self, seconds_ago: int | None) -> dict[str, str]:
        """Return headers with a token that no change of the account revokes: the service itself must refuse.

        None gives a token without a sign-in, as programs have.
        """
        claims = {"ver": 1_000_000} | {name: self.account[name] for name in ("email", "username", "role")}
        if seconds_ago is not None:
            claims |= {"auth_time": int(time.time()) - seconds_ago, "acr": "1"}
        return bearer(token(self.id, **claims))


async def register(auth: httpx.AsyncClient, **fields: Any) -> Person:
    body = {"email": new_email(), "password": PASSWORD, **fields}
    response = await auth.post("/internal/accounts", json=body)
    assert response.status_code == 201, response.text
    return Person(response.json())


async def register_known(users: httpx.AsyncClient, auth: httpx.AsyncClient, **fields: Any) -> Person:
    """Register an account, and deliver its event to the users service."""
    person = await register(auth, **fields)
    await tell(users, AccountCreated, person.account)
    return person


async def tell_of(users: httpx.AsyncClient, person: Person, **changes: Any) -> None:
    """Deliver the event that an account has changed."""
    updated = datetime.now(UTC).isoformat()
    await tell(users, AccountChanged, {**person.account, "updated": updated, **changes})


async def tell_deleted(users: httpx.AsyncClient, person: Person) -> None:
    await tell(users, AccountDeleted, {"id": person.id, "deleted": datetime.now(UTC).isoformat()})


async def tell(users: httpx.AsyncClient, kind: type[Event], account: dict[str, Any]) -> None:
    await deliver(users, sealed(kind, account))


def sealed(kind: type[Event], account: dict[str, Any]) -> str:
    """Return the body of an event of auth."""
    fields = {"account_id" if name == "id" else name: value for name, value in account.items()}
    return Sealed("auth", kind.model_validate(fields)).body


async def deliver(users: httpx.AsyncClient, *bodies: str) -> None:
    """Deliver events like auth, in the order given."""
    headers = bearer(internal_token("users", issuer="auth")) | {"Content-Type": "application/json"}
    content = f'{{"events":[{",".join(bodies)}]}}'
    response = await users.post("/internal/events", content=content, headers=headers)
    assert response.status_code == 204, response.text


async def register_admin(auth: httpx.AsyncClient) -> Person:
    return await register(auth, role="admin")


def new_email() -> str:
    return f"{tag()}@example.com"


def tag() -> str:
    """Return letters and digits that occur in no other name of these tests."""
    return new_id().replace("-", "")[-16:]


def fields_of(response: httpx.Response) -> list[str]:
    """Return the fields that a refusal names."""
    return [error["field"] for error in response.json()["errors"]]


@contextmanager
def serving_auth(folder: Path) -> Iterator[str]:
    """Run the auth service in a separate process, so that its log lines appear in no test."""
    port = free_port()
    nobody = {f"{name}_URL": NOWHERE for name in ("USERS", "ORDERS", "FILES", "AUDIT")}
    environment = service_environment(folder, port, BCRYPT_COST="4", **nobody)
    with forked("services.auth", environment=environment) as auth:
        url = f"http://127.0.0.1:{port}"
        assert eventually(lambda: is_ready(url), seconds=SECONDS_MAX), auth.output
        yield url


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready").status_code == 200
    except httpx.TransportError:
        return False
