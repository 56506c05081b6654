"""People for the tests of the users service."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import httpx

from shared.ids import new_id
from shared.testing import bearer, token

PASSWORD = "correct horse battery 9 Staple"
NOWHERE = "http://127.0.0.1:9"  # the discard port, on which nothing listens

StartUsers = Callable[[str], AbstractAsyncContextManager[httpx.AsyncClient]]


@dataclass(frozen=True, slots=True)
class Person:
    """An account at auth and the headers of somebody signed in to it."""

    account: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.account["id"])

    @property
    def address(self) -> str:
        return f"/users/{self.id}"

    @property
    def headers(self) -> dict[str, str]:
        claims = {name: self.account[name] for name in ("email", "username", "role")}
        return bearer(token(self.id, **claims))


async def register(auth: httpx.AsyncClient, **fields: Any) -> Person:
    body = {"email": new_email(), "password": PASSWORD, **fields}
    response = await auth.post("/internal/accounts", json=body)
    assert response.status_code == 201, response.text
    return Person(response.json())


async def register_admin(auth: httpx.AsyncClient) -> Person:
    return await register(auth, role="admin")


def new_email() -> str:
    return f"{tag()}@example.com"


def tag() -> str:
    """Letters and digits that nobody else in these tests has in their name."""
    return new_id().replace("-", "")[-16:]


def fields_of(response: httpx.Response) -> list[str]:
    """The fields a refusal names."""
    return [error["field"] for error in response.json()["errors"]]
