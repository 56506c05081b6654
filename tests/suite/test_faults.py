"""Processes stopped or killed under load: nothing acknowledged is lost or done twice."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import httpx
import pytest

from shared.ids import new_id
from shared.testing import bearer
from tests import support
from tests.suite.accounts import LAPTOP, PASSWORD, Person, register
from tests.suite.conftest import Suite, running_suite

pytestmark = pytest.mark.prove

CLIENTS = 8
NOTICED_SECONDS = 5  # until the gateway retries a service that it had ejected
EXIT_SECONDS = 30
CHECKED_MAX = 300
PROCESSES = ("services.orders", "gateway", "services.auth", "services.users")


async def test_sigterm_under_load_loses_no_accepted_request(tmp_path: Path) -> None:
    """Every request gets a response or a refused connection, but never a reset."""
    with running_suite(tmp_path) as suite:
        async with suite.client() as client:
            person = await register(client)
        stopping = asyncio.Event()
        lost: list[str] = []
        answered = 0

        async def order_until_refused() -> None:
            nonlocal answered
            async with suite.client() as client:
                while True:
                    try:
                        response = await client.post("/orders", json=LAPTOP, headers=person.headers)
                    except httpx.ConnectError:
                        assert stopping.is_set()
                        return
                    except httpx.HTTPError as error:
                        lost.append(repr(error))
                        return
                    if response.status_code != 201:
                        lost.append(response.text)
                    answered += 1

        load = [asyncio.create_task(order_until_refused()) for _ in range(CLIENTS)]
        await _until(lambda: answered > 100)
        stopping.set()
        started = time.monotonic()
        code = await asyncio.to_thread(suite.stop, signal.SIGTERM)
        await asyncio.gather(*load)

        assert lost == []
        assert code == 0
        assert time.monotonic() - started < EXIT_SECONDS
        assert suite.processes() == {}


async def test_acknowledged_work_survives_the_kill_of_any_process(tmp_path: Path) -> None:
    """Clients retry until they get a response, with the same idempotency key for an order."""
    with running_suite(tmp_path) as suite:
        async with suite.client() as client:
            person = await register(client)
            placed: dict[str, str] = {}
            registered: list[str] = []
            await _under_kills(
                suite,
                lambda: _order_once(client, person, placed),
                lambda: _register_once(client, registered),
            )

            listed = await _all_orders(client, person)
            assert sorted(order["id"] for order in listed) == sorted(placed.values())
            paths = [f"/orders/{order['id']}/history" for order in listed[:CHECKED_MAX]]
            histories = await asyncio.gather(*[client.get(path, headers=person.headers) for path in paths])
            assert {tuple(step["status"] for step in history.json()) for history in histories} == {
                ("pending",)
            }
            last = registered[-CHECKED_MAX:]
            assert last
            assert await asyncio.gather(*[_email_after_login(client, email) for email in last]) == last


async def test_service_that_dies_is_restarted_and_logged(own_suite: Suite) -> None:
    os.kill(own_suite.pid_of("services.orders"), signal.SIGKILL)
    async with own_suite.client() as client:
        person = await register(client)
        asking = asyncio.create_task(_repeat(lambda: client.get("/orders", headers=person.headers)))
        await _until_running(own_suite, "services.orders")
        async with asyncio.timeout(NOTICED_SECONDS):
            response = await asking

    assert response.status_code == 200
    assert support.eventually(
        lambda: any("orders" in line and "killed by SIGKILL" in line for line in own_suite.lines), seconds=5
    )


async def _under_kills(suite: Suite, *works: Callable[[], Awaitable[None]]) -> None:
    """Do all the work in parallel while every process is killed twice, each time under full load."""
    done = asyncio.Event()
    finished = [0] * len(works)

    async def keep_doing(number: int) -> None:
        while not done.is_set():
            await works[number]()
            finished[number] += 1

    workers = [
        asyncio.create_task(keep_doing(number)) for number in range(len(works)) for _ in range(CLIENTS)
    ]
    for module in (*PROCESSES, *PROCESSES):
        killed = await _until_running(suite, module)
        finished[:] = [0] * len(works)
        await _until(lambda: min(finished) >= 2 * CLIENTS)
        os.kill(killed, signal.SIGKILL)
        await _until(partial(_is_gone, suite, killed))
    await _until_running(suite, PROCESSES[-1])
    done.set()
    await asyncio.gather(*workers)


async def _until_running(suite: Suite, module: str) -> int:
    url = f"http://127.0.0.1:{suite.ports[module.removeprefix('services.')]}/health/ready"
    async with httpx.AsyncClient() as client:
        await _repeat(lambda: client.get(url))
    return suite.pid_of(module)


async def _order_once(client: httpx.AsyncClient, person: Person, acknowledged: dict[str, str]) -> None:
    key = new_id()
    headers = person.headers | {"Idempotency-Key": key}
    response = await _repeat(lambda: client.post("/orders", json=LAPTOP, headers=headers))
    assert response.status_code == 201, response.text
    acknowledged[key] = response.json()["id"]


async def _register_once(client: httpx.AsyncClient, acknowledged: list[str]) -> None:
    email = f"{new_id()}@example.com"
    body = {"email": email, "password": PASSWORD}
    response = await _repeat(lambda: client.post("/auth/register", json=body))
    # 409: registered, but the response was lost with the process
    assert response.status_code in (201, 409), response.text
    acknowledged.append(email)


async def _email_after_login(client: httpx.AsyncClient, email: str) -> str:
    credentials = {"email": email, "password": PASSWORD}
    login = await _repeat(partial(client.post, "/auth/login", json=credentials))
    me = await client.get("/users/me", headers=bearer(login.json()["token"]))
    return str(me.json()["email"])


async def _all_orders(client: httpx.AsyncClient, person: Person) -> list[dict[str, str]]:
    orders, address = [], "/orders?limit=200"
    while address:
        response = await client.get(address, headers=person.headers)
        orders += response.json()
        following = response.links.get("next")
        address = "/orders" + following["url"] if following else ""
    return orders


async def _repeat(send: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
    """Retry until there is a response other than 5xx and 429."""
    deadline = time.monotonic() + 30
    while True:
        try:
            response = await send()
            if response.status_code < 500 and response.status_code != 429:
                return response
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, "no response within 30 s"
        await asyncio.sleep(0.05)


def _is_gone(suite: Suite, pid: int) -> bool:
    return pid not in suite.processes()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - other processes set no event
            await asyncio.sleep(0.01)
