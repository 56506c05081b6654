"""How long two gateways accept what was revoked: from the response to the revocation until the first 401."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from shared.testing import bearer
from tests import support
from tests.auth.oauth.support import ask_token, sign_in
from tests.shared.processes import forked
from tests.suite.accounts import PASSWORD, Person, register, sign_in_admin
from tests.suite.conftest import Suite, running_suite

ROUNDS = int(os.environ.get("ROUNDS", "100"))
PATH = "/orders"
SECONDS_MAX = 10.0
MACHINE = {
    "name": "bench",
    "redirect_uris": [],
    "grant_types": ["client_credentials"],
    "scopes": ["orders:read"],
}


@dataclass
class Stage:
    """A suite with a second gateway."""

    client: httpx.AsyncClient
    admin: Person
    gateways: list[str]


@dataclass
class Case:
    """Something to revoke: how its holder sends it, and how it is revoked."""

    headers: dict[str, str]
    revoke: Callable[[], Awaitable[httpx.Response]]


Prepare = Callable[[Stage], Awaitable[Case]]


async def logout(stage: Stage) -> Case:
    person = await register(stage.client)
    return Case(person.headers, lambda: stage.client.post("/auth/logout", headers=person.headers))


async def password_change(stage: Stage) -> Case:
    person, body = await register(stage.client), {"current_password": PASSWORD, "new_password": PASSWORD * 2}
    login = {"email": person.email, "password": PASSWORD}
    other = bearer((await stage.client.post("/auth/login", json=login)).json()["token"])
    return Case(other, lambda: stage.client.put("/auth/me/password", json=body, headers=person.headers))


def change(**fields: str) -> Prepare:
    async def prepare(stage: Stage) -> Case:
        person = await register(stage.client)
        path, body = f"/auth/accounts/{person.id}", {**fields, "reason": "requested"}
        return Case(person.headers, lambda: stage.client.patch(path, json=body, headers=stage.admin.headers))

    return prepare


async def personal_access_token(stage: Stage) -> Case:
    person, body = await register(stage.client), {"name": "bench", "scopes": ["orders:read"]}
    made = (await stage.client.post("/auth/me/tokens", json=body, headers=person.headers)).json()
    path = f"/auth/me/tokens/{made['id']}"
    return Case(bearer(made["token"]), lambda: stage.client.delete(path, headers=person.headers))


async def browser_session(stage: Stage) -> Case:
    person = await register(stage.client)
    async with httpx.AsyncClient(base_url=stage.gateways[0], timeout=30) as browser:
        await sign_in(browser, person.email, PASSWORD)
        cookie = {"Cookie": f"session={browser.cookies['session']}"}
    listed = (await stage.client.get("/auth/me/sessions", headers=person.headers)).json()
    (path,) = [f"/auth/me/sessions/{one['id']}" for one in listed if not one["is_current"]]
    return Case(cookie, lambda: stage.client.delete(path, headers=person.headers))


async def oauth_client(stage: Stage) -> Case:
    made = (await stage.client.post("/clients", json=MACHINE, headers=stage.admin.headers)).json()
    tokens = (await ask_token(stage.client, made, grant_type="client_credentials")).json()
    path, off = f"/clients/{made['id']}/status", {"is_active": False}
    return Case(
        bearer(tokens["access_token"]),
        lambda: stage.client.put(path, json=off, headers=stage.admin.headers),
    )


CAUSES: dict[str, Prepare] = {
    "logout": logout,
    "password change": password_change,
    "account disabled": change(status="disabled"),
    "role changed": change(role="admin"),
    "personal access token": personal_access_token,
    "browser session ended": browser_session,
    "client disabled": oauth_client,
}


async def main(folder: Path) -> None:
    print(f"\nrevocation: seconds to the first refusal at two gateways, {ROUNDS} times each\n")
    print(f"{'':<28}{'p50':>8}{'p99':>8}{'max':>8}")
    with running_suite(folder) as suite:
        async with staged(suite) as stage:
            for name, prepare in CAUSES.items():
                _show(name, [await _measured(stage, prepare) for _ in range(ROUNDS)])
            after = []
            for _ in range(max(1, ROUNDS // 10)):
                after += [await _across_a_restart(suite, stage) for _ in range(2)]
            _show("logout, auth killed after it", after)


@asynccontextmanager
async def staged(suite: Suite) -> AsyncIterator[Stage]:
    port = support.free_port()
    environment = {**suite.environment_of("gateway"), "PORT": str(port)}
    with forked("gateway", environment=environment):
        async with suite.client() as client:
            admin, second = await sign_in_admin(client), f"http://127.0.0.1:{port}"
            await _until_ready(client, second)
            yield Stage(client, admin, [suite.url, second])


async def _measured(stage: Stage, prepare: Prepare) -> float:
    case = await prepare(stage)
    await _accepted(stage, case)
    response = await case.revoke()
    assert response.is_success, response.text
    return await _until_refused(stage, case)


async def _across_a_restart(suite: Suite, stage: Stage) -> float:
    """Kill auth right after a logout; the launcher starts it again."""
    case = await logout(stage)
    await _accepted(stage, case)
    killed = suite.pid_of("services.auth")
    assert (await case.revoke()).is_success
    os.kill(killed, signal.SIGKILL)
    taken = await _until_refused(stage, case)
    await _until_ready(stage.client, f"http://127.0.0.1:{suite.ports['auth']}")
    return taken


async def _accepted(stage: Stage, case: Case) -> None:
    for gateway in stage.gateways:  # which also caches it there
        response = await stage.client.get(gateway + PATH, headers=case.headers)
        assert response.status_code == 200, response.text


async def _until_refused(stage: Stage, case: Case) -> float:
    began = time.monotonic()

    async def refused(gateway: str) -> float:
        while (await stage.client.get(gateway + PATH, headers=case.headers)).status_code != 401:
            assert time.monotonic() - began < SECONDS_MAX, "still accepted"
        return time.monotonic() - began

    return max(await asyncio.gather(*map(refused, stage.gateways)))


async def _until_ready(client: httpx.AsyncClient, url: str) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                if (await client.get(f"{url}/health/ready")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.02)


def _show(name: str, taken: list[float]) -> None:
    taken.sort()
    p50, p99 = taken[len(taken) // 2], taken[max(0, -(-len(taken) * 99 // 100) - 1)]
    print(f"{name:<28}{p50:>8.3f}{p99:>8.3f}{taken[-1]:>8.3f}", flush=True)
