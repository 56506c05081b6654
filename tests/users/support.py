"""People for the tests of the users service, and the real auth service that knows them."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from services.auth.app import create_app as create_auth
from services.auth.settings import Settings as AuthSettings
from shared.ids import new_id
from shared.migrate import upgrade
from shared.testing import TEST_INTERNAL_SECRET, TEST_JWT_SECRET, bearer, token

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
        """A token of a version that no change of the account revokes: the service itself must refuse."""
        claims = {"ver": 1_000_000} | {name: self.account[name] for name in ("email", "username", "role")}
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


@contextmanager
def serving_auth(folder: Path) -> Iterator[str]:
    """The auth service behind a real socket, with a database of its own."""
    settings = AuthSettings(
        data_dir=folder,
        jwt_secret=TEST_JWT_SECRET,
        internal_secret=TEST_INTERNAL_SECRET,
        bcrypt_cost=4,
    )
    upgrade(settings.database_url, settings.migrations())
    config = uvicorn.Config(create_auth(settings), lifespan="on", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            # Waits in the queue of the socket until it is served.
            assert httpx.get(f"{url}/health/ready", timeout=60).status_code == 200
            yield url
        finally:
            server.should_exit = True
            thread.join()
