"""Services of a running suite move to PostgreSQL and back: reads go on, nothing acknowledged is missing."""

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.suite.accounts import LAPTOP, register, sign_in_admin
from tests.suite.conftest import ROOT, Suite, postgresql_databases, running_suite

pytestmark = [pytest.mark.prove, pytest.mark.long(1)]

MOVED = ("orders", "audit", "auth", "users")
SECONDS = 120


async def move(suite: Suite, service: str, target: str) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "gatehouse", "move", service, "--to", target],
        cwd=ROOT,
        env=suite.environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr


async def all_there(client: httpx.AsyncClient, placed: dict[str, dict[str, str]]) -> None:
    for order, headers in placed.items():
        assert (await client.get(f"/orders/{order}", headers=headers)).status_code == 200
    admin = await sign_in_admin(client)
    verified = await client.get("/audit/verify", headers=admin.headers)
    assert verified.json()["intact"] is True, verified.text


async def test_services_move_while_the_suite_runs_and_are_whole_on_the_other_side(
    postgresql_server: str, tmp_path: Path
) -> None:
    data, placed = tmp_path / "data", dict[str, dict[str, str]]()
    with postgresql_databases(postgresql_server) as urls:
        new = {f"{name.upper()}_DATABASE_URL": urls[f"{name.upper()}_DATABASE_URL"] for name in MOVED}
        with running_suite(data) as suite:
            async with suite.client() as client:
                for _ in range(5):
                    person = await register(client)
                    ordered = await client.post("/orders", json=LAPTOP, headers=person.headers)
                    placed[ordered.json()["id"]] = person.headers
                for name in MOVED:
                    await move(suite, name, new[f"{name.upper()}_DATABASE_URL"])
                refused = await client.post("/orders", json=LAPTOP, headers=person.headers)
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "5"), refused.text
                for order, headers in placed.items():  # reads go on
                    assert (await client.get(f"/orders/{order}", headers=headers)).status_code == 200
        with running_suite(data, new) as suite:
            async with suite.client() as client:
                await all_there(client, placed)
                ordered = await client.post("/orders", json=LAPTOP, headers=person.headers)
                assert ordered.status_code == 201, ordered.text
                placed[ordered.json()["id"]] = person.headers
            for name in MOVED:
                await move(suite, name, f"sqlite:///{data}/back/{name}.db")
    back = {f"{name.upper()}_DATABASE_URL": f"sqlite:///{data}/back/{name}.db" for name in MOVED}
    with running_suite(data, back) as suite:
        async with suite.client() as client:
            await all_there(client, placed)
