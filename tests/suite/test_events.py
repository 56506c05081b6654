"""Events between the real processes of the services."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from tests.suite.accounts import LAPTOP, Person, register, sign_in_admin
from tests.suite.conftest import Suite

SECONDS = 15


async def test_registered_user_is_listed_before_their_profile_is_first_read(each_suite: Suite) -> None:
    async with each_suite.client() as client:
        admin, ada = await sign_in_admin(client), await register(client)

        profile = await _until(lambda: _listed(client, admin, ada))
    assert profile["email"] == ada.email
    assert profile["version"] == 1


async def test_deleting_an_account_cancels_its_pending_orders_and_erases_its_profile(
    each_suite: Suite,
) -> None:
    async with each_suite.client() as client:
        admin, ada = await sign_in_admin(client), await register(client)
        pending, confirmed = [
            (await client.post("/orders", json=LAPTOP, headers=ada.headers)).json()["id"] for _ in range(2)
        ]
        step = {"status": "confirmed"}
        assert (await client.put(f"/orders/{confirmed}", json=step, headers=admin.headers)).is_success
        await client.put("/users/me", json={"first_name": "Ada"}, headers=ada.headers)
        assert (await client.delete("/users/me", headers=ada.headers)).status_code == 204

        async def status(order: str, wanted: str) -> Any:
            shown = (await client.get(f"/orders/{order}", headers=admin.headers)).json()
            return shown["status"] == wanted and shown

        assert await _until(lambda: status(pending, "cancelled"))
        history = (await client.get(f"/orders/{pending}/history", headers=admin.headers)).json()
        assert (history[-1]["status"], history[-1]["by"]) == ("cancelled", "gatehouse")
        assert await status(confirmed, "confirmed")
        profile = await _until(lambda: _listed(client, admin, ada, status="deleted"))
        assert (profile["email"], profile["first_name"]) == (None, None)


async def test_users_registered_while_the_users_service_is_down_appear_after_its_restart(
    suite: Suite,
) -> None:
    async with suite.client() as client:
        admin = await sign_in_admin(client)
        os.kill(suite.pid_of("services.users"), signal.SIGKILL)
        assert (await client.get("/users", headers=admin.headers)).status_code >= 500
        people = [await register(client) for _ in range(3)]

        for person in people:
            assert await _until(lambda person=person: _listed(client, admin, person))  # type: ignore[misc]


async def _listed(
    client: httpx.AsyncClient, admin: Person, person: Person, status: str = "active"
) -> dict[str, Any]:
    """Return the profile from the list, which does not create it; empty if it is not there."""
    answer = await client.get("/users", params={"status": status, "limit": 200}, headers=admin.headers)
    found = [one for one in answer.json() if one["id"] == person.id] if answer.is_success else []
    return dict(found[0]) if found else {}


async def _until(look: Callable[[], Awaitable[Any]]) -> Any:
    """Poll until `look` finds something, and return it."""
    deadline = time.monotonic() + SECONDS
    while not (found := await look()):
        assert time.monotonic() < deadline, f"not within {SECONDS} s"
        await asyncio.sleep(0.05)
    return found
