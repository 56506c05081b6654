"""The account events that auth emits, each in the transaction of its change."""

import httpx
import pytest

from services.auth.models import EVENTS
from shared.testing import bearer, internal_token
from tests.auth.support import register
from tests.told import account_events

HEADERS = bearer(internal_token("auth"))


class Told:
    """The account events emitted since the last call of new()."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._seen: set[str] = set()

    def new(self) -> list[tuple[str, dict[str, object]]]:
        fresh = [one for one in account_events(self._database_url, EVENTS) if one.id not in self._seen]
        self._seen |= {one.id for one in fresh}
        return [(one.topic, one.data) for one in fresh]


@pytest.fixture
def told(auth: httpx.AsyncClient, database_url: str) -> Told:
    """The emitted events, without that of the first admin."""
    made = Told(database_url)
    assert [topic for topic, _ in made.new()] == ["account.created"]
    return made


async def test_each_change_emits_an_event_with_the_new_state(auth: httpx.AsyncClient, told: Told) -> None:
    account = (await register(auth, username="ann", first_name="Ann"))["user"]
    address = f"/internal/accounts/{account['id']}"
    state = {"account_id": account.pop("id"), "names_changed": False, **account}
    assert told.new() == [("account.created", state)]

    changed = await auth.patch(address, json={"role": "admin"}, headers=HEADERS)
    assert told.new() == [
        ("account.changed", state | {"role": "admin", "updated": changed.json()["updated"]})
    ]

    await auth.delete(address, headers=HEADERS)
    ((topic, data),) = told.new()
    assert topic == "account.deleted"
    assert data.keys() == {"account_id", "deleted"}
    assert data["account_id"] == state["account_id"]


async def test_account_created_by_another_service_emits_an_event(auth: httpx.AsyncClient, told: Told) -> None:
    body = {"email": "bob@example.com", "password": "password123", "role": "admin"}
    await auth.post("/internal/accounts", json=body, headers=HEADERS)

    ((topic, data),) = told.new()
    assert topic == "account.created"
    assert (data["email"], data["role"]) == ("bob@example.com", "admin")


async def test_refused_change_emits_no_event(auth: httpx.AsyncClient, told: Told) -> None:
    ann = (await register(auth, username="ann"))["user"]
    bob = (await register(auth))["user"]
    told.new()
    address = f"/internal/accounts/{bob['id']}"

    assert (await auth.patch(address, json={"username": "ann"}, headers=HEADERS)).status_code == 409
    register_again = {"email": ann["email"], "password": "password123"}
    assert (await auth.post("/auth/register", json=register_again)).status_code == 409
    assert told.new() == []


async def test_repeated_deletion_emits_one_event(auth: httpx.AsyncClient, told: Told) -> None:
    account = (await register(auth))["user"]
    for _ in range(2):
        await auth.delete(f"/internal/accounts/{account['id']}", headers=HEADERS)

    assert [topic for topic, _ in told.new()] == ["account.created", "account.deleted"]
