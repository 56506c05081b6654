"""Sign-ins compared with a bare bcrypt loop, client credentials a second, and what a cookie costs the
gateway.

The servers share one core and the load generator has the other, as in `tests.bench`. On a busy machine the
CPU time of the processes says more than the rate.
"""

import asyncio
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from shared.testing import bearer
from tests.auth.oauth.support import basic, create_client, sign_in
from tests.auth.support import PASSWORD, register
from tests.bench.processes import (
    BCRYPT_COST,
    JWT_SECRET,
    LOAD_CORE,
    SERVER_CORE,
    Server,
    Suite,
    cpu_seconds,
    on_core,
    settle,
    stopping,
)

NO_BACKEND = "http://127.0.0.1:9"  # these figures need none
ROUNDS = 3
SECONDS = 4
CONNECTIONS = 16
ACCOUNTS = 64  # more than connections, because concurrent sign-ins are limited per account
LOOP = """
import bcrypt, sys, time
cost, seconds = int(sys.argv[1]), float(sys.argv[2])
hashed, done = bcrypt.hashpw(b"password123", bcrypt.gensalt(cost)), 0
began, spent = time.monotonic(), time.process_time()
while time.monotonic() - began < seconds:
    bcrypt.checkpw(b"password123", hashed)
    done += 1
print(done / (time.monotonic() - began), (time.process_time() - spent) / done)
"""


def sign_ins(folder: Path) -> None:
    """Sign-ins a second, as a fraction of a bare bcrypt loop, and the latency of reads meanwhile."""
    suite = Suite(folder, NO_BACKEND)
    with stopping(suite):
        gateway = suite.url("gateway", "")
        bodies, reader, _ = asyncio.run(_people(gateway, ACCOUNTS))
        pids, loops, hashes, rates, quiet, busy = [*suite.pids.values()], [], [], [], [], []
        costs: list[dict[str, float]] = []
        for _ in range(ROUNDS):
            settle(pids)
            idle = _Spent(suite.pids)
            loop, hash_seconds = _bare_loop()
            background = idle.by_process()
            spent, load = _Spent(suite.pids), _Load(folder, f"{gateway}/auth/login", bodies)
            rates.append(load.rate())
            settle(pids)
            # One sign-in of each connection was still under way when the load ended.
            number, used = load.requests + CONNECTIONS, spent.by_process()
            longer = spent.seconds / idle.seconds
            costs.append({name: (used[name] - background[name] * longer) / number for name in suite.pids})
            loops.append(loop)
            hashes.append(hash_seconds)
            quiet += _latencies(f"{gateway}/orders", reader)
            load = _Load(folder, f"{gateway}/auth/login", bodies)
            busy += _latencies(f"{gateway}/orders", reader)
            load.rate()
    rate, loop = statistics.median(rates), statistics.median(loops)
    hash_seconds = statistics.median(hashes)
    cost = {name: statistics.median(each[name] for each in costs) for name in suite.pids}
    print(f"\nsign-ins at bcrypt cost {BCRYPT_COST}, {CONNECTIONS} connections, one core for all servers")
    print(f"bare bcrypt loop {loop:.1f}/s, sign-ins {rate:.1f}/s: ratio {rate / loop:.2f}")
    total = sum(cost.values())
    print(
        f"CPU: a hash {hash_seconds * 1e3:.1f} ms, a sign-in {total * 1e3:.1f} ms: {hash_seconds / total:.2f}"
    )
    print("CPU of a sign-in, ms:", ", ".join(f"{name} {each * 1e3:.1f}" for name, each in cost.items()))
    print(f"GET /orders, p50 and p99: {_percentiles(quiet)} idle, {_percentiles(busy)} during sign-ins")


def clients(folder: Path) -> None:
    """Tokens by client credentials a second, from one auth process on one core."""
    print("\nclient credentials, auth on one core")
    for name, secret in {"HS256": JWT_SECRET, "RS256": ""}.items():
        place = folder / name
        place.mkdir()
        issuer = "http://127.0.0.1:8000"
        server = Server("services.auth", place, OAUTH_ISSUER=issuer, JWT_SECRET=secret)
        with stopping(server):
            headers = basic(asyncio.run(_machine(server.url(""))))
            rates, costs = [], []
            for _ in range(ROUNDS):
                settle([server.pid])
                before = cpu_seconds([server.pid])
                load = _Load(folder, server.url("/oauth/token"), ["grant_type=client_credentials"], headers)
                rates.append(load.rate())
                costs.append((cpu_seconds([server.pid]) - before) / load.requests)
        print(
            f"{name}: {statistics.median(rates):,.0f}/s, {statistics.median(costs) * 1e6:,.0f} µs of CPU each"
        )


def cookies(folder: Path) -> None:
    """The CPU time of the gateway for a request with a session cookie, and with a bearer token."""
    suite = Suite(folder, NO_BACKEND)
    costs: dict[str, list[float]] = {}
    with stopping(suite):
        gateway, pid = suite.url("gateway", ""), suite.pids["gateway"]
        _, bearer_token, cookie = asyncio.run(_people(gateway, 1))
        for _ in range(ROUNDS * 3):
            for name, headers in {"bearer": bearer_token, "cookie": cookie}.items():
                settle([*suite.pids.values()])
                before = cpu_seconds([pid])
                load = _Load(folder, f"{gateway}/orders", [], headers)
                load.rate()
                costs.setdefault(name, []).append((cpu_seconds([pid]) - before) / load.requests)
    cost = {name: statistics.median(each) * 1e6 for name, each in costs.items()}
    print(
        f"\nGET /orders, CPU of the gateway: bearer {cost['bearer']:.1f} µs, cookie {cost['cookie']:.1f} µs"
    )
    print(f"ratio {cost['cookie'] / cost['bearer']:.3f}")


class _Spent:
    """The CPU time that processes use from now on."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = pids
        self._began = time.monotonic()
        self._before = {name: cpu_seconds([pid]) for name, pid in pids.items()}
        self.seconds = 0.0

    def by_process(self) -> dict[str, float]:
        self.seconds = time.monotonic() - self._began
        return {name: cpu_seconds([pid]) - self._before[name] for name, pid in self._pids.items()}


class _Load:
    """The load generator wrk, while it runs."""

    def __init__(
        self, folder: Path, url: str, bodies: Sequence[Any], headers: Mapping[str, str] | None = None
    ) -> None:
        wrk = shutil.which("wrk")
        if wrk is None:
            sys.exit("this needs the load generator wrk: apt-get install wrk")
        script = folder / "request.lua"
        script.write_text(_script(bodies, headers or {}))
        command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}", "--timeout", "30", "-s", str(script), url]
        self.requests = 0
        self._process = subprocess.Popen(on_core(LOAD_CORE, command), stdout=subprocess.PIPE, text=True)

    def rate(self) -> float:
        """Wait until it ends; return the number of requests a second."""
        output, _ = self._process.communicate()
        if "Non-2xx" in output:
            sys.exit(f"the load failed:\n{output}")
        (requests,) = re.findall(r"(\d+) requests in", output)
        (rate,) = re.findall(r"Requests/sec:\s+([\d.]+)", output)
        self.requests = int(requests)
        return float(rate)


def _script(bodies: Sequence[Any], headers: Mapping[str, str]) -> str:
    lines = [f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()]
    if bodies:
        is_form = isinstance(bodies[0], str)
        kind = "application/x-www-form-urlencoded" if is_form else "application/json"
        written = ", ".join(f"[[{one if is_form else json.dumps(one)}]]" for one in bodies)
        lines += [
            'wrk.method = "POST"',
            f'wrk.headers["Content-Type"] = "{kind}"',
            f"bodies = {{{written}}} turn = 0",
            "function request() turn = turn % #bodies + 1",
            "return wrk.format(nil, nil, nil, bodies[turn]) end",
        ]
    return "\n".join(lines)


def _bare_loop() -> tuple[float, float]:
    """Return the hashes per second, and the CPU seconds that each takes."""
    command = [sys.executable, "-c", LOOP, BCRYPT_COST, str(SECONDS)]
    rate, cost = subprocess.check_output(on_core(SERVER_CORE, command), text=True).split()
    return float(rate), float(cost)


def _latencies(url: str, headers: Mapping[str, str]) -> list[float]:
    """Send one request after the other, for as long as the load runs."""
    taken, began = [], time.monotonic()
    with httpx.Client(headers=headers, timeout=30) as client:
        while time.monotonic() - began < SECONDS * 0.8:
            before = time.monotonic()
            client.get(url).raise_for_status()
            taken.append(time.monotonic() - before)
            time.sleep(0.005)
    return taken


def _percentiles(taken: list[float]) -> str:
    taken.sort()
    return f"{taken[len(taken) // 2] * 1e3:.1f} and {taken[len(taken) * 99 // 100] * 1e3:.1f} ms"


async def _people(url: str, number: int) -> tuple[list[dict[str, str]], dict[str, str], dict[str, str]]:
    """Register people. Returns the bodies that sign them in, and a token and a cookie of the first."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        made = [await register(client) for _ in range(number)]
        await sign_in(client, made[0]["user"]["email"])
        cookie = {"Cookie": f"session={client.cookies['session']}"}
    bodies = [{"email": one["user"]["email"], "password": PASSWORD} for one in made]
    return bodies, bearer(made[0]["token"]), cookie


async def _machine(url: str) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        fields = {"grant_types": ["client_credentials"], "redirect_uris": [], "scopes": ["orders:read"]}
        return await create_client(client, **fields)
