"""`make bench`: our endpoints compared with the same ones in FastAPI, and the gateway with other proxies.

The servers share one core and the load generator has the other. Each figure is the median of interleaved
rounds, so that noise affects both sides alike. Compare the ratios, not the absolute numbers.
"""

import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.audit import main as measure_audit
from tests.bench.events.__main__ import main as measure_events
from tests.bench.files import main as measure_files
from tests.bench.gateway.__main__ import main as measure_gateway
from tests.bench.gateway.programs import Program
from tests.bench.golang import NotBuilt
from tests.bench.golang import service as go_service
from tests.bench.notifications import main as measure_notifications
from tests.bench.processes import (
    LOAD_CORE,
    PROBE,
    Server,
    Suite,
    cpu_seconds,
    on_core,
    resident_mib,
    settle,
    stopping,
)
from tests.bench.terminal import main as measure_terminal
from tests.bench.tracing import main as measure_tracing

ROUNDS = 3
SECONDS = 3
CONNECTIONS = 32
ORDERS_IN_LIST = 50
ACCOUNTS = 64  # more than connections, because auth limits concurrent sign-ins per account
GO_GOALS = {"GET /users/me": 0.35, "POST /orders": 0.25}
ORDER = {"product_name": "Laptop", "quantity": 1, "total_price": 999.99}


@dataclass
class Target:
    """One URL under load, and the processes that serve it."""

    url: str
    pids: list[int]
    token: str | None = None
    bodies: Sequence[Any] = ()
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def cost(self) -> float:
        return statistics.median(self.costs)


@dataclass
class Row:
    """One row of the table: the service directly, the service through the gateway, and the peers."""

    name: str
    direct: Target
    through: Target
    peer: Target
    go: Target | None = None

    @property
    def targets(self) -> list[Target]:
        return [self.direct, self.through, self.peer, *([self.go] if self.go else [])]

    def show(self) -> str:
        sides = (self.direct, self.through, self.peer)
        rates = "".join(f"{side.rate:>10,.0f}{side.cost:>8,.0f}" for side in sides)
        ratio, through = self.direct.rate / self.peer.rate, self.through.rate / self.peer.rate
        return f"{self.name:<24}{rates}{ratio:>9.2f}{through:>9.2f}{self.peer.cost / self.direct.cost:>9.2f}"

    def show_go(self, go: Target) -> str:
        rates = "".join(f"{side.rate:>10,.0f}{side.cost:>8,.0f}" for side in (self.direct, go))
        goal = GO_GOALS.get(self.name)
        wanted = "" if goal is None else f"{goal:>9.2f}"
        ratios = self.direct.rate / go.rate, go.cost / self.direct.cost
        return f"{self.name:<24}{rates}{ratios[0]:>9.2f}{ratios[1]:>9.2f}{wanted}"


def main() -> None:
    wrk = shutil.which("wrk")
    if wrk is None:
        sys.exit("make bench needs the load generator wrk: apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        go = _go(Path(folder), stack)
        peer = Server("tests.bench.peer", Path(folder))
        backend = Server("tests.bench.backend", Path(folder))
        suite = Suite(Path(folder), backend.url(""))
        with stopping(peer), stopping(backend), stopping(suite):
            idle = {
                **{name: resident_mib(pid) for name, pid in suite.pids.items()},
                "peer": resident_mib(peer.pid),
            }
            everyone = [*suite.pids.values(), backend.pid, peer.pid]
            rows = [_health_row(suite, backend, peer), *_rows(suite, peer, go)]
            targets = [target for row in rows for target in row.targets]
            print(f"measuring for about {ROUNDS * len(targets) * SECONDS} s …", flush=True)
            for _ in range(ROUNDS):
                for target in targets:
                    settle(everyone)
                    _measure(wrk, target, Path(folder))
            _print(rows, suite, peer, idle)


def _go(folder: Path, stack: ExitStack) -> Program | None:
    try:
        return stack.enter_context(go_service(folder))
    except NotBuilt as reason:
        print(f"without the service in Go: {reason}", flush=True)
        return None


def _health_row(suite: Suite, backend: Server, peer: Server) -> Row:
    return Row(
        "health of a backend",
        direct=Target(backend.url(PROBE), [backend.pid]),
        through=Target(suite.url("gateway", PROBE), [backend.pid, suite.pids["gateway"]]),
        peer=Target(peer.url("/health"), [peer.pid]),
    )


def _rows(suite: Suite, peer: Server, go: Program | None) -> list[Row]:
    accounts = [{"email": f"bench{n}@example.com", "password": "correct horse"} for n in range(ACCOUNTS)]
    ours, theirs = _registered(suite.url("auth", ""), accounts), _registered(peer.url(""), accounts)
    # One account reads and always has fifty orders; another one places new orders.
    readers, writers = {"ours": ours[0], "peer": theirs[0]}, {"ours": ours[1], "peer": theirs[1]}
    for base, token in ((suite.url("orders", ""), ours[0]), (peer.url(""), theirs[0])):
        for _ in range(ORDERS_IN_LIST):
            _send(f"{base}/orders", ORDER, token)
    rows = [
        _row(suite, peer, "GET /users/me", "users", "/users/me", tokens=readers),
        _row(suite, peer, "GET /orders (50 rows)", "orders", "/orders?limit=50", tokens=readers),
        _row(suite, peer, "POST /auth/login", "auth", "/auth/login", bodies=accounts),
        # In the first row the peer writes what our service does: order, step, event and record. In the second
        # row it writes only the order.
        _row(suite, peer, "POST /orders", "orders", "/orders", "/recorded", tokens=writers, bodies=[ORDER]),
        _row(suite, peer, "… peer: order only", "orders", "/orders", tokens=writers, bodies=[ORDER]),
    ]
    if go is not None:
        _register_in_go(go, ours[0])
        for row, path in zip(rows, ("/users/me", "/orders?limit=50", None, "/orders"), strict=False):
            if path is not None:
                row.go = Target(f"{go.url}{path}", [go.pid], row.direct.token, row.direct.bodies)
    return rows


def _register_in_go(go: Program, token: str) -> None:
    """Give the reader a profile and its orders."""
    _send(f"{go.url}/register", {}, token)
    for _ in range(ORDERS_IN_LIST):
        _send(f"{go.url}/orders", ORDER, token)


def _registered(base: str, accounts: Sequence[Any]) -> list[str]:
    """Register accounts; return a token for each."""
    return [_send(f"{base}/auth/register", account)["token"] for account in accounts]


def _row(
    suite: Suite,
    peer: Server,
    name: str,
    service: str,
    path: str,
    peer_suffix: str = "",
    *,
    tokens: dict[str, str] | None = None,
    bodies: Sequence[Any] = (),
) -> Row:
    ours, theirs = (tokens["ours"], tokens["peer"]) if tokens else (None, None)
    pids = suite.pids
    return Row(
        name,
        direct=Target(suite.url(service, path), [pids[service]], ours, bodies),
        through=Target(suite.url("gateway", path), [pids[service], pids["gateway"]], ours, bodies),
        peer=Target(peer.url(path + peer_suffix), [peer.pid], theirs, bodies),
    )


def _measure(wrk: str, target: Target, folder: Path) -> None:
    script = folder / "request.lua"
    lines = [f'wrk.headers["Authorization"] = "Bearer {target.token}"'] if target.token else []
    if target.bodies:
        lines += ['wrk.method = "POST"', 'wrk.headers["Content-Type"] = "application/json"']
        lines.append(
            f"bodies = {{{', '.join(f'[[{json.dumps(body)}]]' for body in target.bodies)}}} turn = 0"
        )
        lines.append("function request() turn = turn % #bodies + 1")
        lines.append("return wrk.format(nil, nil, nil, bodies[turn]) end")
    script.write_text("\n".join(lines))
    before = cpu_seconds(target.pids)
    load = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}", "--timeout", "10", "-s", str(script), target.url]
    output = subprocess.run(on_core(LOAD_CORE, load), capture_output=True, text=True, check=True).stdout
    spent = cpu_seconds(target.pids) - before
    if "Non-2xx" in output or "Socket errors" in output:
        sys.exit(f"{target.url} failed under load:\n{output}")
    (requests,) = re.findall(r"(\d+) requests in", output)
    if not int(requests):
        sys.exit(
            f"{target.url} did not respond within {SECONDS} s: this machine is too busy for measurements"
        )
    (rate,) = re.findall(r"Requests/sec:\s+([\d.]+)", output)
    target.rates.append(float(rate))
    target.costs.append(spent / int(requests) * 1_000_000)


def _print(rows: list[Row], suite: Suite, peer: Server, idle: dict[str, float]) -> None:
    print(f"\n{CONNECTIONS} connections, median of {ROUNDS} rounds of {SECONDS} s; CPU in µs per request\n")
    print(
        f"{'':<24}{'direct/s':>10}{'CPU':>8}{'gateway/s':>10}{'CPU':>8}{'peer/s':>10}{'CPU':>8}{'direct':>9}{'gateway':>9}{'CPU':>9}"
    )
    print(f"{'':<24}{'':>54}{'÷ peer':>9}{'÷ peer':>9}{'peer ÷':>9}")
    for row in rows:
        print(row.show())
    _print_go(rows)
    print(f"\n{'resident MiB':<24}{'idle':>10}{'after':>8}")
    for name, pid in {**suite.pids, "peer": peer.pid}.items():
        print(f"{name:<24}{idle[name]:>10.0f}{resident_mib(pid):>8.0f}")
    print(
        f"\n`make up` to ready, on one core: {suite.ready_seconds:.1f} s (peer: {peer.ready_seconds:.1f} s)"
    )


def _print_go(rows: list[Row]) -> None:
    """Compare with the service in Go, which does the same work except delivering the events."""
    compared = [(row, row.go) for row in rows if row.go is not None]
    if compared:
        print(f"\n{'':<24}{'direct/s':>10}{'CPU':>8}{'Go/s':>10}{'CPU':>8}{'direct':>9}{'CPU':>9}{'goal':>9}")
        print(f"{'':<24}{'':>36}{'÷ Go':>9}{'Go ÷':>9}")
    for row, go in compared:
        print(row.show_go(go))


def _send(url: str, body: dict[str, Any], token: str | None = None) -> Any:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


if __name__ == "__main__":
    main()
    measure_audit()
    measure_events()
    measure_gateway()
    measure_files()
    measure_terminal()
    measure_notifications()
    measure_tracing()
