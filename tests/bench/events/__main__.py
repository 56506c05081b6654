"""The cost of events: POST /orders on the orders service, and on one that emits and records nothing.

Both run on one core, one after the other; the load and the subscriber run on a second core. Latency is
measured with one request at a time. Cost is measured at saturation, and its CPU time is that of the whole
process, delivery included.
"""

import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import jwt

from shared.ids import new_id
from tests.bench.events.servers import running, sink
from tests.bench.processes import (
    JWT_SECRET,
    LOAD_CORE,
    Server,
    cpu_seconds,
    on_core,
    settle,
)

ROUNDS = 15
SECONDS = 1
ONE, MANY = 1, 16  # connections
WANTED = 1.10
ORDER = {"product_name": "Laptop", "quantity": 1, "total_price": 999.99}


@dataclass
class Side:
    name: str
    server: Server
    times: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)


def main() -> None:
    wrk = shutil.which("wrk")
    if wrk is None:
        sys.exit("make bench needs the load generator wrk: apt-get install wrk")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        all_events = stack.enter_context(sink(folder)).url("")
        subscribers = {"AUDIT_URL": all_events, "NOTIFICATIONS_URL": all_events}
        silent = stack.enter_context(running("tests.bench.events.silent_orders", folder / "silent"))
        telling = stack.enter_context(running("services.orders", folder / "telling", **subscribers))
        sides = [Side("without events", silent), Side("with events", telling)]
        script = _script(folder)
        print(f"measuring for about {4 * ROUNDS * SECONDS} s …", flush=True)
        for _ in range(ROUNDS):
            for side in sides:
                side.times.append(1_000_000 / _measure(wrk, script, side, ONE)[0])
            for side in sides:
                rate, cost = _measure(wrk, script, side, MANY)
                side.rates.append(rate)
                side.costs.append(cost)
        _print(sides)


def _script(folder: Path) -> Path:
    script = folder / "request.lua"
    script.write_text(
        f'wrk.headers["Authorization"] = "Bearer {_token()}"\n'
        'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
        f"wrk.body = [[{json.dumps(ORDER)}]]\n"
    )
    return script


def _token() -> str:
    now = int(time.time())
    claims = {"sub": new_id(), "iss": "gatehouse", "aud": "gatehouse", "iat": now, "exp": now + 3600}
    return jwt.encode(claims, JWT_SECRET, algorithm="HS256", headers={"typ": "at+jwt"})


def _measure(wrk: str, script: Path, side: Side, connections: int) -> tuple[float, float]:
    """Return requests per second, and µs of CPU per request."""
    pids = [side.server.pid]
    before = cpu_seconds(pids)
    load = [wrk, "-t1", f"-c{connections}", f"-d{SECONDS}", "-s", str(script), side.server.url("/orders")]
    output = subprocess.run(on_core(LOAD_CORE, load), capture_output=True, text=True, check=True).stdout
    settle(pids)  # include the delivery of remaining events
    if "Non-2xx" in output or "Socket errors" in output:
        sys.exit(f"{side.name} failed under load:\n{output}")
    (requests,) = re.findall(r"(\d+) requests in", output)
    (rate,) = re.findall(r"Requests/sec:\s+([\d.]+)", output)
    return float(rate), (cpu_seconds(pids) - before) / int(requests) * 1_000_000


def _print(sides: list[Side]) -> None:
    print(f"\nEvents: POST /orders, median of {ROUNDS} rounds of {SECONDS} s\n")
    for side in sides:
        each, rate, cost = (statistics.median(figures) for figures in (side.times, side.rates, side.costs))
        print(f"{side.name:<20}{each:>8,.0f} µs per request{rate:>9,.0f} requests/s{cost:>8,.0f} µs CPU each")
    silent, telling = sides
    slower = _ratio(silent.times, telling.times)
    verdict = "yes" if slower <= WANTED else "NOT REACHED"
    print(f"{'latency ratio':<20}{slower:>8.2f}   wanted at most {WANTED:<8}{verdict}")
    print(f"{'CPU ratio':<20}{_ratio(silent.costs, telling.costs):>8.2f}   delivery included")


def _ratio(before: list[float], after: list[float]) -> float:
    """Return the median ratio of adjacent measurements, which ran under similar conditions."""
    return statistics.median(b / a for a, b in zip(before, after, strict=True))


if __name__ == "__main__":
    main()
