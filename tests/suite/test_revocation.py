"""Every process refuses a revoked token within a second, long before it expires."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.testing import bearer
from tests import stalls, support
from tests.shared.processes import forked
from tests.suite.accounts import PASSWORD, Person, register, sign_in_admin
from tests.suite.conftest import Suite, postgresql_databases, running_suite

PROMISED_SECONDS = 1.0
PATIENCE_SECONDS = 10.0
TRIES = 40
MANY = 50
NEW_PASSWORD = "another horse, another battery"


def doors(suite: Suite) -> dict[str, str]:
    """Return one URL per process that verifies tokens: the gateway and the services."""
    paths = {"auth": "/auth/me", "users": "/users/me/preferences", "orders": "/orders"}
    direct = {name: f"http://127.0.0.1:{suite.ports[name]}{path}" for name, path in paths.items()}
    return {"gateway": f"{suite.url}/orders", **direct}


async def seconds_until_refused(client: httpx.AsyncClient, address: str, headers: dict[str, str]) -> float:
    _, seconds = await stalls.timed(_until_refused(client, address, headers))
    return seconds


async def _until_refused(client: httpx.AsyncClient, address: str, headers: dict[str, str]) -> None:
    began = time.monotonic()
    # 404: a deleted account's data may be gone before its token is refused.
    while (response := await client.get(address, headers=headers)).status_code in (200, 404):
        assert time.monotonic() - began < PATIENCE_SECONDS, f"still accepted at {address}"
        await asyncio.sleep(0.002)
    assert response.status_code == 401, response.text
    assert response.json()["code"] == "invalid_token"


async def let_in_everywhere(client: httpx.AsyncClient, suite: Suite, headers: dict[str, str]) -> bool:
    """Check that every process accepts the token, which also caches it there."""
    answers = [await client.get(address, headers=headers) for address in doors(suite).values()]
    return {answer.status_code for answer in answers} == {200}


async def refused_everywhere(client: httpx.AsyncClient, suite: Suite, headers: dict[str, str]) -> list[float]:
    return await asyncio.gather(
        *[seconds_until_refused(client, address, headers) for address in doors(suite).values()]
    )


async def log_out(client: httpx.AsyncClient, person: Person) -> None:
    response = await client.post("/auth/logout", headers=person.headers)
    assert response.status_code == 204, response.text


async def test_logout_reaches_every_process(each_suite: Suite) -> None:
    taken: list[float] = []
    async with each_suite.client() as client:
        for _ in range(TRIES):
            person = await register(client)
            assert await let_in_everywhere(client, each_suite, person.headers)
            await log_out(client, person)
            taken += await refused_everywhere(client, each_suite, person.headers)

    taken.sort()
    assert taken[int(len(taken) * 0.99) - 1] < PROMISED_SECONDS, taken[-5:]


async def test_fifty_concurrent_logouts_reach_every_process(each_suite: Suite) -> None:
    async with each_suite.client() as client:
        people = await asyncio.gather(*[register(client) for _ in range(MANY)])
        stays = await register(client)
        for person in people:
            assert await let_in_everywhere(client, each_suite, person.headers)
        await asyncio.gather(*[log_out(client, person) for person in people])
        await stalls.sleep(PROMISED_SECONDS)  # by then all must be refused
        for person in people:
            for address in doors(each_suite).values():
                assert (await client.get(address, headers=person.headers)).status_code == 401
        assert await let_in_everywhere(client, each_suite, stays.headers)


Change = Callable[[httpx.AsyncClient, Person, Person], Awaitable[httpx.Response]]


def _by_admin(**fields: Any) -> Change:
    async def change(client: httpx.AsyncClient, admin: Person, person: Person) -> httpx.Response:
        return await client.put(f"/users/{person.id}", json=fields, headers=admin.headers)

    return change


async def _delete(client: httpx.AsyncClient, admin: Person, person: Person) -> httpx.Response:
    return await client.delete(f"/users/{person.id}", headers=admin.headers)


async def _change_password(client: httpx.AsyncClient, _admin: Person, person: Person) -> httpx.Response:
    # from a session other than the one that must end
    other = await _login(client, person.email)
    body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    return await client.put("/auth/me/password", json=body, headers=bearer(other["token"]))


async def _reuse_refresh_token(client: httpx.AsyncClient, _admin: Person, person: Person) -> httpx.Response:
    body = {"refresh_token": person.refresh_token}
    second = (await client.post("/auth/refresh", json=body)).json()["refresh_token"]
    await client.post("/auth/refresh", json={"refresh_token": second})
    return await client.post("/auth/refresh", json=body)


async def _login(client: httpx.AsyncClient, email: str, password: str = PASSWORD) -> dict[str, Any]:
    response = await client.post("/auth/login", json={"email": email, "password": password})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


@pytest.mark.parametrize(
    ("change", "status"),
    [
        pytest.param(_by_admin(status="disabled"), 200, id="disabled"),
        pytest.param(_by_admin(role="admin"), 200, id="role changed"),
        pytest.param(_delete, 204, id="deleted"),
        pytest.param(_change_password, 204, id="password changed"),
        pytest.param(_reuse_refresh_token, 401, id="refresh token reused"),
    ],
)
async def test_change_of_an_account_revokes_its_tokens_everywhere(
    each_suite: Suite, change: Change, status: int
) -> None:
    async with each_suite.client() as client:
        admin = await sign_in_admin(client)
        person, bystander = await register(client), await register(client)
        assert await let_in_everywhere(client, each_suite, person.headers)
        assert (await change(client, admin, person)).status_code == status

        assert max(await refused_everywhere(client, each_suite, person.headers)) < PROMISED_SECONDS
        for unharmed in (bystander, admin):
            assert await let_in_everywhere(client, each_suite, unharmed.headers)


async def test_user_whose_role_changed_can_sign_in_again_at_once(suite: Suite) -> None:
    """Within one second, the issue time alone cannot tell old tokens from new ones."""
    async with suite.client() as client:
        admin, person = await sign_in_admin(client), await register(client)
        address = f"/users/{person.id}"
        for role in ("admin", "user") * 5:
            before = bearer((await _login(client, person.email))["token"])
            assert await let_in_everywhere(client, suite, before)
            changed = await client.put(address, json={"role": role}, headers=admin.headers)
            assert changed.status_code == 200, changed.text
            after = bearer((await _login(client, person.email))["token"])

            assert await let_in_everywhere(client, suite, after)
            assert max(await refused_everywhere(client, suite, before)) < PROMISED_SECONDS
            assert await let_in_everywhere(client, suite, after)


async def test_session_that_changes_the_password_stays_valid(suite: Suite) -> None:
    async with suite.client() as client:
        person = await register(client)
        body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
        other = bearer((await _login(client, person.email))["token"])
        await client.put("/auth/me/password", json=body, headers=person.headers)

        assert max(await refused_everywhere(client, suite, other)) < PROMISED_SECONDS
        assert await let_in_everywhere(client, suite, person.headers)


async def test_revocation_feed_is_not_public(suite: Suite) -> None:
    async with suite.client() as client:
        person = await register(client)
        direct = f"http://127.0.0.1:{suite.ports['auth']}/internal/revocations"

        assert (await client.get("/internal/revocations", headers=person.headers)).status_code == 404
        assert (await client.get(direct, headers=person.headers)).status_code == 401
        assert (await client.get(direct)).status_code == 401


async def test_restarted_process_knows_earlier_revocations(suite: Suite) -> None:
    async with suite.client() as client:
        person, other = await register(client), await register(client)
        await log_out(client, person)
        await refused_everywhere(client, suite, person.headers)
        for module in ("services.orders", "services.users", "services.auth", "gateway"):
            await _killed_and_back(client, suite, module)
            address = doors(suite)[module.removeprefix("services.")]

            assert (await client.get(address, headers=person.headers)).status_code == 401
            assert (await client.get(address, headers=other.headers)).status_code == 200


async def test_revocation_is_enforced_even_if_auth_is_killed_right_after_the_response(
    own_suite: Suite,
) -> None:
    async with own_suite.client() as client:
        others = [address for name, address in doors(own_suite).items() if name != "auth"]
        for _ in range(3):  # from the second round on, the verifiers may not be back yet
            person = await register(client)
            assert await let_in_everywhere(client, own_suite, person.headers)
            killed = own_suite.pid_of("services.auth")
            await log_out(client, person)
            os.kill(killed, signal.SIGKILL)
            taken = [seconds_until_refused(client, address, person.headers) for address in others]
            assert max(await asyncio.gather(*taken)) < PROMISED_SECONDS
            await _until_status(client, f"http://127.0.0.1:{own_suite.ports['auth']}/health/ready", {}, 200)


async def test_other_processes_continue_while_auth_hangs_and_then_catch_up(suite: Suite) -> None:
    earlier = len(suite.lines)
    async with suite.client() as client:
        people = [await register(client) for _ in range(2)]
        for person in people:
            assert await let_in_everywhere(client, suite, person.headers)
        stopped = suite.pid_of("services.auth")
        os.kill(stopped, signal.SIGSTOP)  # like a lost host, it neither responds nor closes connections
        try:
            await _until_readiness_says(client, suite, "stale")
            for name, address in doors(suite).items():
                if name != "auth":
                    assert (await client.get(address, headers=people[0].headers)).status_code == 200
            metrics = (await client.get("/metrics")).text
            [lag] = [line for line in metrics.splitlines() if line.startswith("revocation_lag_seconds ")]
            assert float(lag.split()[1]) > 3
        finally:
            os.kill(stopped, signal.SIGCONT)
        await log_out(client, people[0])
        assert max(await refused_everywhere(client, suite, people[0].headers)) < PROMISED_SECONDS

        await _killed_and_back(client, suite, "services.auth")
        await log_out(client, people[1])
        assert max(await refused_everywhere(client, suite, people[1].headers)) < PROMISED_SECONDS
        await _until_readiness_says(client, suite, "current")
        said = "\n".join(suite.lines[earlier:])
        assert "revocations_stale" in said
        assert "revocations_current" in said


async def test_strict_mode_refuses_stale_requests_and_long_polls_do_not_delay_the_end(tmp_path: Path) -> None:
    with running_suite(tmp_path, {"ORDERS_REVOCATION_MODE": "strict"}) as suite:
        async with suite.client() as client:
            person = await register(client)
            assert await let_in_everywhere(client, suite, person.headers)
            stopped = suite.pid_of("services.auth")
            os.kill(stopped, signal.SIGSTOP)
            try:
                await _until_status(client, doors(suite)["orders"], person.headers, 503)
                ready = await client.get(f"http://127.0.0.1:{suite.ports['orders']}/health/ready")
                assert (ready.status_code, ready.json()["checks"]["revocations"]) == (503, "stale")
                assert (await client.get(doors(suite)["users"], headers=person.headers)).status_code == 200
            finally:
                os.kill(stopped, signal.SIGCONT)
            await _until_status(client, doors(suite)["orders"], person.headers, 200)
        began = time.monotonic()
        assert await asyncio.to_thread(suite.stop, signal.SIGTERM) == 0
        assert time.monotonic() - began < 10


@pytest.fixture
def two_replicas(postgresql_server: str, tmp_path: Path) -> Iterator[tuple[Suite, str]]:
    """A suite on PostgreSQL, and the URL of a second auth process on the same database."""
    with (
        postgresql_databases(postgresql_server) as settings,
        running_suite(tmp_path, settings) as suite,
        another_auth(suite) as url,
    ):
        yield suite, url


async def test_revocation_by_another_replica_reaches_every_process(two_replicas: tuple[Suite, str]) -> None:
    suite, replica = two_replicas
    taken: list[float] = []
    async with suite.client() as client:
        await _until_status(client, f"{replica}/health/ready", {}, 200)
        for _ in range(TRIES):
            person = await register(client)
            assert await let_in_everywhere(client, suite, person.headers)
            response = await client.post(f"{replica}/auth/logout", headers=person.headers)
            assert response.status_code == 204
            taken += await refused_everywhere(client, suite, person.headers)
            taken.append(await seconds_until_refused(client, f"{replica}/auth/me", person.headers))

    taken.sort()
    assert taken[int(len(taken) * 0.99) - 1] < PROMISED_SECONDS, taken[-5:]


@contextmanager
def another_auth(suite: Suite) -> Iterator[str]:
    """Start a second auth process with the settings of the first, except for its port."""
    port = support.free_port()
    with forked("services.auth", environment={**suite.environment_of("auth"), "PORT": str(port)}):
        yield f"http://127.0.0.1:{port}"


async def _killed_and_back(client: httpx.AsyncClient, suite: Suite, module: str) -> None:
    killed = suite.pid_of(module)
    os.kill(killed, signal.SIGKILL)

    async def is_gone() -> bool:
        return killed not in suite.processes()

    await until_true(is_gone)
    port = suite.ports[module.removeprefix("services.")]
    await _until_status(client, f"http://127.0.0.1:{port}/health/ready", {}, 200)


async def _until_status(
    client: httpx.AsyncClient, address: str, headers: dict[str, str], status: int
) -> None:
    async def is_so() -> bool:
        try:
            return (await client.get(address, headers=headers)).status_code == status
        except httpx.TransportError:
            return False

    await until_true(is_so)


async def _until_readiness_says(client: httpx.AsyncClient, suite: Suite, state: str) -> None:
    for name in ("gateway", "users", "orders"):

        async def says_so(address: str = f"http://127.0.0.1:{suite.ports[name]}/health/ready") -> bool:
            return bool((await client.get(address)).json()["checks"]["revocations"] == state)

        await until_true(says_so)


async def until_true(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 - other processes set no event
            await asyncio.sleep(0.01)
