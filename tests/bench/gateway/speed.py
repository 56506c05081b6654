"""The speed table: every proxy under the same load, in interleaved rounds so that noise affects all alike."""

import re
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from shared.testing import token
from tests.bench.gateway import pace
from tests.bench.gateway.programs import Program
from tests.bench.gateway.proxies import COMPILED, GO_GATEWAY, OURS, PATH, Stage
from tests.bench.processes import LOAD_CORE, SERVER_CORE, core_seconds, on_core

CONNECTIONS = 32
PACED_RATE_MAX = 10_000
TOKEN_SECONDS = 24 * 3600
OTHERS_MAX = 0.05
REFERENCE, RIVALS = "nginx", ("Caddy", GO_GATEWAY)
COMPILED_GOALS = {REFERENCE: 0.5, **dict.fromkeys(RIVALS, 2.0)}


class Goal(NamedTuple):
    """A target and the measured value."""

    name: str
    figure: float
    wanted: str
    reached: bool


@dataclass
class Figures:
    """The measurements of one proxy, one value per round."""

    proxy: Program
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)  # share of the core used by other processes
    p50s: list[float] = field(default_factory=list)
    p99s: list[float] = field(default_factory=list)
    paced: list[pace.Latencies] = field(default_factory=list)
    failure: str = ""

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def half_rate(self) -> float:
        return min(self.rate / 2, PACED_RATE_MAX)

    @property
    def paced_p99(self) -> float:
        return statistics.median(each.p99 for each in self.paced)


def measure(stage: Stage, wrk: str, rounds: int, seconds: int) -> dict[str, Figures]:
    """Measure all proxies at saturation, then at half of each one's maximum."""
    figures = {proxy.name: Figures(proxy) for proxy in stage.proxies}
    script = stage.folder / "request.lua"
    script.write_text(f'wrk.headers["Authorization"] = "Bearer {bearer()}"\n{_PERCENTILES}')
    for steps in (
        lambda each: _saturate(each, wrk, str(script), seconds),
        lambda each: _pace(each, seconds),
    ):
        _in_rounds(figures, steps, rounds)
    return figures


def bearer() -> str:
    """Create a token that the benchmark's gateway accepts."""
    return token("bench", exp=int(time.time()) + TOKEN_SECONDS)


def request_head(port: int, path: str, *more: str, method: str = "GET") -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Authorization: Bearer {bearer()}",
        *more,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def _in_rounds(figures: dict[str, Figures], step: Callable[[Figures], None], rounds: int) -> None:
    for _ in range(rounds):
        for each in figures.values():
            if not each.failure:
                step(each)


def _saturate(figures: Figures, wrk: str, script: str, seconds: int) -> None:
    proxy = figures.proxy
    load = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{seconds}", "--timeout", "10", "-s", script, proxy.url + PATH]
    _forget_log(proxy)
    before, core_before = proxy.cpu_seconds(), core_seconds(SERVER_CORE)
    output = subprocess.run(on_core(LOAD_CORE, load), capture_output=True, text=True, check=True).stdout
    spent, core_spent = proxy.cpu_seconds() - before, core_seconds(SERVER_CORE) - core_before
    if "Non-2xx" in output or "Socket errors" in output:
        figures.failure = "returned errors under load"
        return
    (requests,) = re.findall(r"(\d+) requests in", output)
    (rate,) = re.findall(r"Requests/sec:\s+([\d.]+)", output)
    (percentiles,) = re.findall(r"microseconds: ([\d.]+) ([\d.]+)", output)
    figures.rates.append(float(rate))
    figures.costs.append(spent / int(requests) * 1_000_000)
    figures.busy.append(spent / seconds)
    figures.others.append(max(0.0, core_spent - spent) / seconds)
    figures.p50s.append(float(percentiles[0]) / 1000)
    figures.p99s.append(float(percentiles[1]) / 1000)


def _pace(figures: Figures, seconds: int) -> None:
    proxy = figures.proxy
    _forget_log(proxy)
    try:
        measured = pace.at_rate(proxy.port, request_head(proxy.port, PATH), figures.half_rate, seconds)
    except pace.PaceError as error:
        figures.failure = str(error)
    else:
        figures.paced.append(measured)


def _forget_log(proxy: Program) -> None:
    """Truncate the log, which is written but not needed."""
    proxy.log.write_bytes(b"")


def show(figures: dict[str, Figures], missing: dict[str, str]) -> None:
    print(f"\n{'':<20}{'req/s':>9}{'÷ nginx':>9}{'CPU µs':>8}{'busy':>7}", end="")
    print(f"{'p50 ms':>9}{'p99 ms':>9}{'  at req/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'MiB':>7}")
    reference = _sound(figures, REFERENCE)
    for name, each in figures.items():
        if each.failure:
            print(f"{name:<20}  {each.failure}")
            continue
        ratio = f"{each.rate / reference.rate:>9.2f}" if reference else f"{'-':>9}"
        capped = "*" if each.half_rate == PACED_RATE_MAX else " "
        print(
            f"{name:<20}{each.rate:>9,.0f}{ratio}{statistics.median(each.costs):>8.1f}"
            f"{statistics.median(each.busy):>7.0%}{statistics.median(each.p50s):>9.2f}"
            f"{statistics.median(each.p99s):>9.2f}{each.half_rate:>9,.0f}{capped}"
            f"{statistics.median(paced.p50 for paced in each.paced):>9.2f}{each.paced_p99:>9.2f}"
            f"{each.proxy.resident_mib():>7.0f}"
        )
    for name, reason in missing.items():
        print(f"{name:<20}  left out: {reason}")
    print(f"* half of the proxy's maximum exceeds the pacing limit of {PACED_RATE_MAX:,} requests per second")
    others = statistics.median([share for each in figures.values() for share in each.others] or [0.0])
    if others > OTHERS_MAX:
        print(f"Other processes used {others:.0%} of the proxies' core during the run: compare only CPU µs.")


def goals(figures: dict[str, Figures]) -> list[Goal]:
    """Return the targets for which both sides of the ratio were measured."""
    ours, reference = _sound(figures, OURS), _sound(figures, REFERENCE)
    if ours is None:
        return []
    found = [Goal("requests per second", ours.rate, "≥ 12,000", ours.rate >= 12_000)]
    if reference is not None:
        ratio, latency = ours.rate / reference.rate, ours.paced_p99 / reference.paced_p99
        found.append(Goal("req/s ÷ nginx", ratio, "≥ 0.5, never < 0.3", ratio >= 0.5))
        found.append(Goal("p99 at half rate ÷ nginx", latency, "≤ 2", latency <= 2))
    for name in RIVALS:
        rival = _sound(figures, name)
        if rival is not None:
            ratio = ours.rate / rival.rate
            found.append(Goal(f"req/s ÷ {name}", ratio, "≥ 1.2", ratio >= 1.2))
    return found + _goals_of_compiled(figures)


def _goals_of_compiled(figures: dict[str, Figures]) -> list[Goal]:
    ours = _sound(figures, COMPILED)
    peers = [(name, _sound(figures, name), wanted) for name, wanted in COMPILED_GOALS.items()]
    return [
        Goal(f"compiled: req/s ÷ {name}", ratio, f"≥ {wanted:g}", ratio >= wanted)
        for name, peer, wanted in peers
        if ours is not None and peer is not None
        for ratio in (ours.rate / peer.rate,)
    ]


def _sound(figures: dict[str, Figures], name: str) -> Figures | None:
    found = figures.get(name)
    return None if found is None or found.failure else found


_PERCENTILES = """
function done(summary, latency, requests)
  io.write(string.format("microseconds: %.1f %.1f\\n", latency:percentile(50), latency:percentile(99)))
end
"""
