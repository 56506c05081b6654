"""`make chaos`: every part of a running suite is killed, frozen or cut off under load.

Then what the suite acknowledged is compared with what it did.

    python -m tests.chaos --length 10m --seed 4 --database sqlite

Everything runs on loopback, in servers of its own, and ends by itself. Root gets a network of its own as
well. The exit code is 1 if anything was lost or happened twice, or if the suite did not recover from a fault.
"""

import argparse
import asyncio
import random
import re
import secrets
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from tests.chaos.faults import Fault, NotPossible, all_faults
from tests.chaos.network import enter_own_network
from tests.chaos.people import Gateways, People, json_of
from tests.chaos.reconciliation import reconcile
from tests.chaos.scene import DATABASES, NotRecovered, Scene, new_folder, scene

PEOPLE = 12
RATE = 12.0  # arrivals a second, which a shared machine bears while half of the suite starts again
STOCK = 10_000_000
RECOVERED_SECONDS = 60.0
QUIET_SECONDS = 1.0  # between two faults
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Outcome:
    fault: str
    lasted: float
    recovered: float  # until an order sent after the fault was accepted, and all programs were ready
    refused: int
    problem: str = ""
    note: str = "recovered"


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--length", type=_seconds, default=600.0, help="for example 10m (default) or 60s")
    parser.add_argument("--seed", type=int, help="repeat the order of faults and the choices of people")
    parser.add_argument("--database", choices=DATABASES, default=DATABASES[0])
    arguments = parser.parse_args(words)
    seed = secrets.randbelow(1_000_000) if arguments.seed is None else arguments.seed
    _say(f"seed {seed}; repeat with: make chaos SEED={seed} DATABASE={arguments.database}")
    packets = enter_own_network()  # before anything is started
    with new_folder() as folder, scene(folder, arguments.database, packets_can_be_lost=packets) as built:
        _say(
            f"ready: {len(built.services)} services on {arguments.database}, two gateways, "
            f"{RATE:g} arrivals a second"
        )
        outcomes, faults, people = asyncio.run(_run(built, random.Random(seed), seed, arguments.length))
    _report(outcomes, faults, people)
    return 1 if faults or any(one.problem for one in outcomes) or not outcomes else 0


async def _run(
    built: Scene, chance: random.Random, seed: int, seconds: float
) -> tuple[list[Outcome], list[str], People]:
    client = Gateways([built.suite.url, built.second.url])
    admin = await _signed_in(client)
    product_id = await _product(client, admin)
    people = People(client, seed, product_id)
    await people.prepare(PEOPLE)
    stopped = asyncio.Event()
    load = asyncio.create_task(people.until_stopped(RATE, stopped))
    try:
        outcomes = await _break_all(built, people, chance, seconds)
    finally:
        stopped.set()
    await load
    _say("load ended; waiting for what is under way")
    faults = await reconcile(built, people, await _signed_in(client), product_id)
    client.close()
    return outcomes, faults, people


async def _break_all(built: Scene, people: People, chance: random.Random, seconds: float) -> list[Outcome]:
    """Cause the faults in random order, again and again, until the time is over."""
    outcomes: list[Outcome] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        faults = all_faults(built)
        for fault in chance.sample(faults, len(faults)):
            if time.monotonic() > end:
                break
            outcomes.append(await _broken(built, people, fault))
            _say(_line(outcomes[-1]))
            if outcomes[-1].problem.startswith("not recovered"):
                return outcomes
            await asyncio.sleep(QUIET_SECONDS)
    return outcomes


async def _broken(built: Scene, people: People, fault: Fault) -> Outcome:
    before, began = people.acknowledged.refused.total(), time.monotonic()
    problem, note, lasted, recovered = "", "recovered", 0.0, 0.0
    try:
        await asyncio.to_thread(fault.happens)
        lasted = time.monotonic() - began
        async with asyncio.timeout(RECOVERED_SECONDS):
            await people.place_one()
        for program in fault.healed:
            await asyncio.to_thread(built.until_ready, program)
        recovered = time.monotonic() - began - lasted
    except NotPossible as reason:
        note = f"not caused: {reason}"
    except (NotRecovered, TimeoutError) as error:
        problem = f"not recovered: {error or f'no order was accepted for {RECOVERED_SECONDS:g} s'}"
    refused = people.acknowledged.refused.total() - before
    return Outcome(fault.name, lasted, recovered, refused, problem, note)


async def _signed_in(client: Gateways) -> dict[str, str]:
    credentials = {"username": "admin", "password": "admin123"}
    signed_in = await json_of(client, "POST", "/auth/login", {}, credentials)
    return {"Authorization": f"Bearer {signed_in['token']}"}


async def _product(client: Gateways, admin: dict[str, str]) -> str:
    product = {"sku": "CHAOS-1", "name": "Laptop", "price": 999.99, "tax_rate": 24, "status": "active"}
    made = await json_of(client, "POST", "/products", admin, product)
    move = {"kind": "receive", "quantity": STOCK, "reason": "for chaos"}
    await json_of(client, "POST", f"/products/{made['id']}/stock/moves", admin, move)
    return str(made["id"])


def _line(one: Outcome) -> str:
    state = one.problem or one.note
    return f"{one.fault:38}{one.lasted:8.1f} s{one.recovered:10.1f} s{one.refused:9}  {state}"


def _report(outcomes: Sequence[Outcome], faults: Sequence[str], people: People) -> None:
    said = people.acknowledged
    print(f"\n{'fault':38}{'lasted':>10}{'recovered':>12}{'refused':>9}")
    for one in outcomes:
        print(_line(one))
    print(
        f"\n{len(outcomes)} faults, {people.requests:,} requests; acknowledged: {len(said.orders):,} orders, "
        f"{len(said.files):,} files, {len(said.accounts):,} accounts"
    )
    with suppress(ValueError):
        print("repeated because of: " + ", ".join(f"{code} {n}" for code, n in said.refused.most_common(8)))
    for sentence in faults:
        print(f"NOT RECONCILED: {sentence}")
    print("reconciliation found nothing" if not faults else f"{len(faults)} differences")


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text}: give a length such as 60s or 10m")
    return float(found[1]) * _UNITS[found[2]]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
