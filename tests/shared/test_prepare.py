"""The step before a handler's session: it calls other services; the handler takes its result by type."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlmodel import Session

from shared.caller import Caller
from shared.data.database import Database
from shared.errors import Invalid
from shared.http.endpoints import Chassis, Endpoint
from shared.http.operations import Operation
from shared.http.schemas import Id, Input, Output
from shared.http.trail import Trail
from shared.identity.tokens import TokenVerifier, public
from shared.ids import new_id
from shared.peers.client import HttpClient, InternalTokens, Peer, PeerRefusal
from shared.service import create_service
from shared.testing import bearer, running, token
from tests.shared.work.app import Settings
from tests.shared.work.test_documentation import example


@dataclass(frozen=True)
class Owner:
    id: str
    username: str


class NewThing(Input):
    name: str
    owner: str


class ThingOut(Output):
    name: str
    owner: str


class UnknownOwner(Invalid):
    """There is no such account."""

    code = "unknown_owner"


class FakeClient(HttpClient):
    """Responds like two other services, and records their requests."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def request(
        self, method: str, url: str, *, body: Any = None, headers: dict[str, str] | None = None
    ) -> Any:
        self.asked.append(f"{method} {url}")
        if url.endswith("/nobody"):
            raise PeerRefusal(404, {"code": "not_found"})
        return {"id": url.rpartition("/")[2], "username": "ann", "count": 7}


@pytest.fixture
def names() -> dict[str, Any]:
    known = (Peer, PeerRefusal, Session, Operation, NewThing, ThingOut, Owner, UnknownOwner)
    found: dict[str, Any] = {one.__name__: one for one in known}
    exec(example("peers.md"), found)
    return found


@pytest.fixture
async def things(
    make_settings: Callable[..., Any], names: dict[str, Any]
) -> AsyncIterator[tuple[httpx.AsyncClient, FakeClient]]:
    client = FakeClient()
    accounts = names["Accounts"]

    def create_app(settings: Settings) -> Any:
        provided = {
            accounts: accounts.of(settings, client, name="auth", url="http://auth"),
            Stock: Stock.of(settings, client, name="orders", url="http://orders"),
        }
        database = Database(settings.database_url)
        return create_service(
            settings, [*names["OPERATIONS"], count()], client=client, database=database, provide=provided
        )

    async with running(create_app, make_settings(Settings)) as service:
        yield service, client


class Stock(Peer):
    """Another service in addition to that of the example."""


async def ask_stock(thing_id: Id, caller: Caller | None, stock: Stock) -> int:
    found: int = (await stock.call("GET", f"/internal/stock/{thing_id}"))["count"]
    return found if caller is None else -found


def show_stock(thing_id: Id, caller: Caller | None, left: int) -> ThingOut:
    """Show what is left."""
    return ThingOut(name=thing_id, owner=str(left))


def count() -> Operation:
    return Operation("GET", "/things/{thing_id}", show_stock, access=public, prepare=ask_stock)


async def add(client: httpx.AsyncClient, body: Any, **headers: str) -> httpx.Response:
    return await client.post(
        "/things",
        content=json.dumps(body),
        headers={**bearer(token()), "Content-Type": "application/json", **headers},
    )


async def test_result_of_the_step_reaches_the_handler(things: tuple[httpx.AsyncClient, FakeClient]) -> None:
    service, client = things
    answer = await add(service, {"name": "lamp", "owner": "7"})

    assert (answer.status_code, answer.json()) == (201, {"name": "lamp", "owner": "ann"})
    assert client.asked == ["GET http://auth/internal/accounts/7"]


async def test_refusal_by_the_step_is_the_response(things: tuple[httpx.AsyncClient, FakeClient]) -> None:
    answer = await add(things[0], {"name": "lamp", "owner": "nobody"})

    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_owner")


async def test_step_runs_only_after_access_and_input_were_checked(
    things: tuple[httpx.AsyncClient, FakeClient],
) -> None:
    service, client = things

    assert (await add(service, {"name": "lamp"})).status_code == 422
    assert (await add(service, {"name": "lamp", "owner": "7"}, Authorization="Bearer x")).status_code == 401
    assert (await service.get("/things/7")).status_code == 422
    assert client.asked == []


async def test_each_of_several_peers_is_called_at_its_own_url(
    things: tuple[httpx.AsyncClient, FakeClient],
) -> None:
    service, client = things
    thing = new_id()
    answer = await service.get(f"/things/{thing}")

    assert answer.json() == {"name": thing, "owner": "7"}
    assert (await service.get(f"/things/{thing}", headers=bearer(token()))).json()["owner"] == "-7"
    assert client.asked == [f"GET http://orders/internal/stock/{thing}"] * 2


def blocking(body: NewThing) -> Owner:
    raise AssertionError


async def with_session(body: NewThing, session: Session) -> Owner:
    raise AssertionError


async def with_trail(body: NewThing, trail: Trail) -> Owner:
    raise AssertionError


async def something_else(body: NewThing) -> str:
    raise AssertionError


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (blocking, "must be a coroutine"),
        (with_session, "nothing provides session"),
        (with_trail, "nothing provides trail"),
        (something_else, "does not take the result of its preparation"),
    ],
)
def test_service_with_a_step_that_does_not_match_does_not_start(
    names: dict[str, Any], make_settings: Callable[..., Any], prepare: Any, words: str, tmp_path: Path
) -> None:
    settings, client = make_settings(Settings), HttpClient()
    database = Database(f"sqlite:///{tmp_path}/other.db")
    chassis = Chassis(TokenVerifier(settings, client), InternalTokens(settings), database, None, {})

    with pytest.raises(TypeError, match=words):
        Endpoint(Operation("POST", "/things", names["add_thing"], prepare=prepare), chassis)
    database.close()
