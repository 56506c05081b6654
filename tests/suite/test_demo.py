"""`gatehouse demo --fill` and `--remove` on a running suite."""

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from gatehouse.demo import company
from tests import support
from tests.suite.accounts import register, sign_in_admin
from tests.suite.conftest import ROOT, Suite, running_suite

pytestmark = pytest.mark.prove


def demo(suite: Suite, *options: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "gatehouse", "demo", *options],
        cwd=ROOT,
        env=suite.environment | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    return f"{done.returncode}\n{done.stdout}{done.stderr}"


async def counts(client: httpx.AsyncClient, headers: dict[str, str]) -> dict[str, int]:
    paths = ("/users", "/products", "/orders", "/tickets", "/files", "/reviews")
    found = {}
    for path in paths:
        answer = await client.get(path, params={"limit": 100}, headers=headers)
        assert answer.status_code == 200, answer.text
        found[path] = len(answer.json())
    return found


async def test_company_fills_a_suite_once_and_can_be_removed(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "gatehouse", "demo")
    with running_suite(tmp_path, command=command) as suite:
        async with suite.client() as client:
            real = await register(client)
            mine = {"product_name": "Real", "quantity": 1, "total_price": 10}
            assert (await client.post("/orders", json=mine, headers=real.headers)).status_code == 201
            admin = await sign_in_admin(client)
            try:
                async with asyncio.timeout(support.length(200)):
                    while not any("demo: sign in as" in line for line in suite.lines):  # noqa: ASYNC110
                        await asyncio.sleep(0.5)
            except TimeoutError:
                said = [line for line in suite.lines if "demo: " in line]
                pytest.fail("\n".join(["not filled:", *said, "last lines:", *suite.lines[-20:]]))

            filled = await counts(client, admin.headers)
            assert filled["/orders"] == company.ORDERS + 1
            assert filled["/users"] == len(company.PEOPLE) + 2
            assert filled["/tickets"] == len(company.TICKETS)
            assert filled["/products"] == len(company.PRODUCTS)
            assert filled["/reviews"] > 0

            orders = (await client.get("/orders", params={"limit": 100}, headers=admin.headers)).json()
            oldest = min(datetime.fromisoformat(one["created"]) for one in orders)
            assert datetime.now(UTC) - oldest > timedelta(days=company.DAYS - 20)
            assert len({one["created"][:7] for one in orders}) >= 5
            assert {one["status"] for one in orders} >= {"pending", "delivered", "cancelled", "shipped"}
            machines = await client.get("/workspaces", headers=admin.headers)
            assert machines.json()[0]["tags"]["demo"] == "yes"

            again = await asyncio.to_thread(demo, suite, "--fill")
            assert again.startswith("0\n"), again
            assert "added" not in again, again
            assert await counts(client, admin.headers) == filled

            refused = await asyncio.to_thread(demo, suite, "--fill", ENVIRONMENT="production")
            assert not refused.startswith("0\n")

            desk = (
                await client.get("/products", params={"search": "DEMO-DESK"}, headers=admin.headers)
            ).json()
            bought = {"lines": [{"product_id": desk[0]["id"], "quantity": 1}]}
            assert (await client.post("/orders", json=bought, headers=real.headers)).status_code == 201

            removed = await asyncio.to_thread(demo, suite, "--remove")
            assert removed.startswith("0\n"), removed
            left = {"/users": 2, "/orders": 2, "/products": 1, "/tickets": 0, "/files": 0, "/reviews": 0}
            async with asyncio.timeout(support.length(60)):
                while await counts(client, admin.headers) != left:  # noqa: ASYNC110 - of other processes
                    await asyncio.sleep(0.2)

            again = await asyncio.to_thread(demo, suite, "--fill")
            assert again.startswith("0\n"), again
            assert "products: 8 added" in again, again
            desk = (
                await client.get("/products", params={"search": "DEMO-DESK"}, headers=admin.headers)
            ).json()
            assert [one["status"] for one in desk] == ["active"]
