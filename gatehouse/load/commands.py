"""`gatehouse load`."""

import argparse
import asyncio
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gatehouse.load import NotRun

if TYPE_CHECKING:
    from gatehouse.load.journey import Journey
    from gatehouse.load.measure import Measured
    from gatehouse.load.running import Plan

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_COLUMNS = "{:10} {:>10} {:>8} {:>9} {:>9} {:>9} {:>9}\n"


def load(arguments: argparse.Namespace) -> int:
    """Put load on a running suite, and measure every step: people arrive at a steady rate."""
    from gatehouse.load.journey import SHARES
    from gatehouse.load.measure import budget_of
    from gatehouse.load.running import Plan

    try:
        plan = Plan(
            _number(arguments.rate, "--rate"),
            _number(arguments.seconds, "--for"),
            _shares(arguments.mix, SHARES),
        )
        budgets = [budget_of(text, list(SHARES)) for text in arguments.budget or ["errors=1"]]
        measured = asyncio.run(_measure(arguments, plan))
    except (NotRun, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    breaches = [sentence for one in budgets if (sentence := one.breach(measured))]
    _tell(arguments, plan, measured, breaches)
    return 1 if breaches else 0


async def _measure(arguments: argparse.Namespace, plan: "Plan") -> "Measured":
    from gatehouse.load import client as clients
    from gatehouse.load import journey as journeys
    from gatehouse.load import running

    client = clients.Client(arguments.target, verify=not arguments.insecure, timeout=arguments.timeout)
    journey = journeys.Journey(client, arguments.seed)
    try:
        _say(f"registering {arguments.users} accounts at {arguments.target}")
        await journey.prepare(arguments.users)
        _say(f"{plan.rate:g} arrivals a second for {plan.seconds:g} s")
        measured = await running.run(journey, plan, _say)
    finally:
        client.close()
        _write_journal(arguments.journal, journey)
    return measured


def _write_journal(file: Path | None, journey: "Journey") -> None:
    """Write what the suite acknowledged, one line for each account, to compare it with the databases."""
    if file is not None:
        lines = [json.dumps({"email": one.email, "orders": one.orders}) for one in journey.people]
        file.write_text("".join(f"{line}\n" for line in lines))


def _number(text: str, name: str) -> float:
    """Parse 200, 200/s, 60s, 10m."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(?:/s|([smh]?))", text)
    if found is None or float(found[1]) <= 0:
        raise NotRun(f"{name} {text}: give a number such as 200/s or 60s")
    return float(found[1]) * _UNITS[found[2] or ""]


def _shares(text: str, known: dict[str, float]) -> dict[str, float]:
    """Parse me=50,order=50; without it, the usual shares."""
    if not text:
        return known
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.partition("=")
        if name not in known or re.fullmatch(r"\d+(\.\d+)?", share) is None:
            raise NotRun(f"--mix {part}: give shares such as me=50,order=50 of {', '.join(known)}")
        shares[name] = float(share)
    if not sum(shares.values()):
        raise NotRun("--mix: at least one share must not be 0")
    return shares


def _tell(arguments: argparse.Namespace, plan: "Plan", measured: "Measured", breaches: list[str]) -> None:
    steps = {name: step for name, step in measured.steps.items() if step.times.count}
    if arguments.json:
        told = {
            "rate": plan.rate,
            "seconds": plan.seconds,
            "steps": {name: step.told() for name, step in steps.items()},
            "total": measured.total.told(),
            "errors": {name: dict(step.errors) for name, step in steps.items() if step.errors},
            "breaches": breaches,
        }
        sys.stdout.write(f"{json.dumps(told)}\n")
    else:
        sys.stdout.write(
            _COLUMNS.format("step", "requests", "errors", "p50 ms", "p95 ms", "p99 ms", "max ms")
        )
        for name, step in [*steps.items(), ("all", measured.total)]:
            one = step.told()
            times = [f"{one[column]:,.1f}" for column in ("p50", "p95", "p99", "max")]
            sys.stdout.write(_COLUMNS.format(name, f"{one['requests']:,}", f"{one['errors']:,}", *times))
        for name, step in steps.items():
            for code, count in step.errors.most_common():
                sys.stdout.write(f"{name}: {count:,} times {code}\n")
    sys.stderr.write("".join(f"budget exceeded: {sentence}\n" for sentence in breaches))


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def describe(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option(
        "--target", default="http://localhost:8000", metavar="URL", help="the gateway, or a proxy before it"
    )
    option("--users", type=int, default=20, help="accounts that are registered first (default: 20)")
    option("--rate", default="50/s", help="arrivals per second, for example 200/s (default: 50/s)")
    option(
        "--for",
        dest="seconds",
        default="30s",
        metavar="TIME",
        help="how long, for example 10m (default: 30s)",
    )
    option("--mix", default="", metavar="SHARES", help="shares of the steps, for example me=50,order=50")
    option(
        "--budget",
        action="append",
        metavar="BOUND",
        help="exit with 1 if it is exceeded: p99=250 (ms), order.p95=100, errors=0.5 (%%); may be repeated",
    )
    option("--timeout", type=float, default=30.0, metavar="SECONDS", help="for a response (default: 30)")
    option("--insecure", action="store_true", help="accept any certificate")
    option("--seed", type=int, help="repeat the same arrivals")
    option("--journal", type=Path, metavar="FILE", help="write the ids of all acknowledged orders")
    option("--json", action="store_true", help="print the result as JSON")
