"""How long two gateways accept revoked tokens: from the response to the revocation until the first 401."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin

from shared.testing import bearer
from tests import support
from tests.auth.oauth.support import ask_token, basic, sign_in
from tests.shared.processes import forked
from tests.suite.accounts import PASSWORD, Person, register, sign_in_admin
from tests.suite.conftest import Suite, running_suite

ROUNDS = int(os.environ.get("ROUNDS", "100"))
PATH = "/orders"
SOCKET = "/bench-socket"
SECONDS_MAX = 10.0
# The launcher takes the kills for a crash loop, and would pause longer after each.
PATIENT = (
    "from gatehouse import cli, watched; watched.STEADY_SECONDS = 0.0; raise SystemExit(cli.main(['up']))"
)
MACHINE = {
    "name": "bench",
    "redirect_uris": [],
    "grant_types": ["client_credentials"],
    "scopes": ["orders:read"],
}


@dataclass
class Stage:
    """A suite with two more gateways, which also forward WebSockets."""

    client: httpx.AsyncClient
    admin: Person
    gateways: list[str]
    origin: str


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


def oauth_client(method: str, path: str, **body: bool) -> Prepare:
    async def prepare(stage: Stage) -> Case:
        made = (await stage.client.post("/clients", json=MACHINE, headers=stage.admin.headers)).json()
        tokens = (await ask_token(stage.client, made, grant_type="client_credentials")).json()
        url, admin = path.format(**made), stage.admin.headers
        return Case(
            bearer(tokens["access_token"]),
            lambda: stage.client.request(method, url, json=body or None, headers=admin),
        )

    return prepare


async def token_of_client(stage: Stage) -> Case:
    made = (await stage.client.post("/clients", json=MACHINE, headers=stage.admin.headers)).json()
    token = (await ask_token(stage.client, made, grant_type="client_credentials")).json()["access_token"]
    form, own = {"token": token}, basic(made)
    return Case(bearer(token), lambda: stage.client.post("/oauth/revoke", data=form, headers=own))


CAUSES: dict[str, Prepare] = {
    "logout": logout,
    "password change": password_change,
    "account disabled": change(status="disabled"),
    "role changed": change(role="admin"),
    "personal access token": personal_access_token,
    "browser session ended": browser_session,
    "client disabled": oauth_client("PUT", "/clients/{id}/status", is_active=False),
    "client deleted": oauth_client("DELETE", "/clients/{id}"),
    "token revoked by its client": token_of_client,
}


async def main(folder: Path) -> None:
    print(f"\nrevocation: seconds to the first refusal at two gateways, {ROUNDS} times each\n")
    print(f"{'':<28}{'p50':>8}{'p99':>8}{'max':>8}")
    with running_suite(folder, command=(sys.executable, "-c", PATIENT)) as suite:
        async with staged(suite) as stage:
            for name, prepare in CAUSES.items():
                stage.admin = await sign_in_admin(stage.client)  # before the token expires
                _show(name, [await _measured(stage, prepare) for _ in range(ROUNDS)])
            _show("signing key killed", [await _of_key(suite, stage) for _ in range(ROUNDS)])
            stage.admin = await sign_in_admin(stage.client)  # with the new key
            _show("open WebSockets", [await _of_sockets(stage, prepare) for prepare in _in_turn()])
            print("\nauth is killed right after the response")
            taken = [await _across_a_restart(suite, stage, prepare) for prepare in _in_turn()]
            _show("any of these", [refused for refused, _ in taken])
            _show("open WebSockets", [closed for _, closed in taken])
            _show("signing key killed", [await _of_key(suite, stage, restart=True) for _ in range(ROUNDS)])


@asynccontextmanager
async def staged(suite: Suite) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serve(_echo, "127.0.0.1", 0))
        backend = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        own = suite.environment_of("gateway")
        routes = _with_socket(Path(own["ROUTES_FILE"]), backend, suite.data_dir)
        ports = [support.free_port() for _ in range(2)]
        for port in ports:
            address = {"PORT": str(port), "OAUTH_ISSUER": suite.url, "ROUTES_FILE": str(routes)}
            environment = {**own, **address}
            stack.enter_context(forked("gateway", environment=environment))
        client = await stack.enter_async_context(suite.client())
        gateways = [f"http://127.0.0.1:{port}" for port in ports]
        for gateway in gateways:
            await _until_ready(client, gateway)
        yield Stage(client, await sign_in_admin(client), gateways, suite.url)


def _with_socket(routes: Path, backend: str, folder: Path) -> Path:
    """Write the routes, and one for WebSockets."""
    line = f"routes:\n  - {{path: {SOCKET}, backend: '{backend}'}}\n"
    file = folder / "bench-routes.yaml"
    file.write_text(routes.read_text().replace("routes:\n", line, 1))
    return file


async def _echo(socket: ServerConnection) -> None:
    with suppress(ConnectionClosed):  # by the gateway, as measured
        async for message in socket:
            await socket.send(message)


async def _measured(stage: Stage, prepare: Prepare) -> float:
    case = await prepare(stage)
    await _accepted(stage, case)
    response = await case.revoke()
    assert response.is_success, response.text
    return await _until_refused(stage, case)


def _in_turn() -> Iterable[Prepare]:
    """The causes one after the other, as many as there are rounds."""
    return islice(cycle(CAUSES.values()), ROUNDS)


async def _across_a_restart(suite: Suite, stage: Stage, prepare: Prepare) -> tuple[float, float]:
    """Kill auth right after the response; return when both gateways refuse, and have closed the sockets."""
    stage.admin = await sign_in_admin(stage.client)
    case = await prepare(stage)
    await _accepted(stage, case)
    async with _sockets_of(stage, case) as sockets:
        killed = suite.pid_of("services.auth")
        assert (await case.revoke()).is_success
        os.kill(killed, signal.SIGKILL)
        taken = await asyncio.gather(_until_refused(stage, case), _until_all_closed(sockets))
    await _until_ready(stage.client, f"http://127.0.0.1:{suite.ports['auth']}")
    return taken


async def _of_sockets(stage: Stage, prepare: Prepare) -> float:
    """Revoke the token of a WebSocket at each gateway; return when both are closed."""
    case = await prepare(stage)
    async with _sockets_of(stage, case) as sockets:
        assert (await case.revoke()).is_success
        return await _until_all_closed(sockets)


@asynccontextmanager
async def _sockets_of(stage: Stage, case: Case) -> AsyncIterator[list[ClientConnection]]:
    async with AsyncExitStack() as stack:
        sockets: list[ClientConnection] = []
        for gateway in stage.gateways:
            url = gateway.replace("http", "ws", 1) + SOCKET
            opening = connect(url, proxy=None, origin=Origin(stage.origin), additional_headers=case.headers)
            sockets.append(await stack.enter_async_context(opening))
            await sockets[-1].send("open")
            assert await sockets[-1].recv() == "open"
        yield sockets


async def _until_all_closed(sockets: list[ClientConnection]) -> float:
    began = time.monotonic()
    async with asyncio.timeout(SECONDS_MAX):
        await asyncio.gather(*map(_until_closed, sockets))
    return time.monotonic() - began


async def _until_closed(socket: ClientConnection) -> None:
    try:
        await socket.recv()
    except ConnectionClosed:
        return
    raise AssertionError("the socket is still open")


async def _of_key(suite: Suite, stage: Stage, *, restart: bool = False) -> float:
    """Kill the signing key with the command, which reports this once the change is committed."""
    case = await logout(stage)
    await _accepted(stage, case)
    (key,) = (await stage.client.get("/.well-known/jwks.json")).json()["keys"]
    command = [sys.executable, "-m", "gatehouse", "signing-keys", "kill", key["kid"], "--reason", "bench"]
    killing = await asyncio.create_subprocess_exec(
        *command, env={**suite.environment, "PYTHONUNBUFFERED": "1"}, stdout=asyncio.subprocess.PIPE
    )
    assert killing.stdout is not None
    assert await killing.stdout.readline()
    if restart:
        os.kill(suite.pid_of("services.auth"), signal.SIGKILL)
    taken = await _until_refused(stage, case)
    assert await killing.wait() == 0
    await _until_ready(stage.client, f"http://127.0.0.1:{suite.ports['auth']}")
    return taken


async def _accepted(stage: Stage, case: Case) -> None:
    for gateway in stage.gateways:  # which also caches it there
        response = await stage.client.get(gateway + PATH, headers=case.headers)
        assert response.status_code == 200, response.text


async def _until_refused(stage: Stage, case: Case) -> float:
    began = time.monotonic()

    async def refused(gateway: str) -> float:
        # 503: a cookie or key is exchanged at auth, which is just restarting.
        while (await stage.client.get(gateway + PATH, headers=case.headers)).status_code not in (401, 503):
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
