"""The audit log through the gateway: it records actions of every service, and clients can verify it."""

import asyncio
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from gateway.config.routes_file import parse
from gateway.forwarding.explain import explain
from tests import support
from tests.suite.accounts import LAPTOP, Person, register, sign_in_admin
from tests.suite.conftest import ROOT, Suite
from tests.suite.test_quickstart import PRINTED_PORT

SECONDS = 1.0  # maximum delay between an action and its record
PATIENCE_SECONDS = 20.0


async def records(client: httpx.AsyncClient, headers: dict[str, str], wanted: str) -> list[dict[str, Any]]:
    """Poll `/api/audit/logs` until an account has a record of this action; return all its records."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found: list[dict[str, Any]] = (await client.get("/api/audit/logs", headers=headers)).json()
        if any(one["action"] == wanted for one in found) or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.02)


async def test_upload_is_recorded_with_all_fields(each_suite: Suite) -> None:
    async with each_suite.client() as client:
        person = await register(client)
        uploaded = await client.post(
            "/api/files",
            files={"file": ("document.pdf", b"%PDF-1.4", "application/pdf")},
            headers=person.headers,
        )
        file = uploaded.json()
        (record, *_) = await records(client, person.headers, "FILE_UPLOAD")

    assert record["action"] == "FILE_UPLOAD"
    assert record["resource"] == file["id"]
    assert record["user_id"] == file["user_id"]
    assert record["metadata"] | {"filename": "document.pdf", "size": 8} == record["metadata"]
    assert record["ip"] == "127.0.0.1"
    assert record["user_agent"].startswith("python-httpx")
    assert record["request_id"] == uploaded.headers["x-request-id"]


async def test_upload_is_recorded_within_a_second(suite: Suite) -> None:
    async with suite.client() as client:
        person = await register(client)
        times = []
        for _ in range(5):
            files = {"file": ("a.txt", b"a")}
            uploaded = (await client.post("/files", files=files, headers=person.headers)).json()
            started = time.monotonic()
            while not any(
                one["resource"] == uploaded["id"]
                for one in await records(client, person.headers, "FILE_UPLOAD")
            ):
                assert time.monotonic() - started < PATIENCE_SECONDS
            times.append(time.monotonic() - started)

    assert sorted(times)[2] < SECONDS


async def test_deleting_an_account_erases_its_personal_data_but_not_its_actions(suite: Suite) -> None:
    async with suite.client() as client:
        admin, person = await sign_in_admin(client), await register(client)
        await client.post("/orders", json=LAPTOP, headers=person.headers)
        (record, *_) = await records(client, person.headers, "PLACE_ORDER")
        account = record["user_id"]
        deleted = await client.delete(f"/users/{account}", headers=admin.headers)
        assert deleted.status_code == 204, deleted.text
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            left = (await client.get(f"/audit/logs?user_id={account}", headers=admin.headers)).json()
            if all(one["ip"] is None for one in left) or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.1)
        verified = (await client.get("/audit/verify", headers=admin.headers)).json()

    assert {(one["ip"], one["user_agent"], one["metadata"]) for one in left} == {(None, None, None)}
    assert "PLACE_ORDER" in {one["action"] for one in left}
    assert verified["intact"], verified["faults"]


def test_concurrent_exports_per_user_are_limited() -> None:
    """Twenty exports of 12,000 records each made all other requests wait for seconds."""
    table = parse((ROOT / "routes.yaml").read_text(), "routes.yaml", development=True)
    told = {line.name: line.words for line in explain(table, "GET", "/audit/export", ())}

    assert "3 in progress per user" in told["limits"]


async def test_commands_in_the_audit_documentation(suite: Suite, tmp_path: Path) -> None:
    support.need("curl", "bash")
    (block,) = re.findall(
        r"test_audit\.py -->\n```bash\n(.*?)```", (ROOT / "docs/audit.md").read_text(), re.DOTALL
    )
    async with suite.client() as client:
        person = await register(client)
        await client.post("/orders", json=LAPTOP, headers=person.headers)
        await records(client, person.headers, "PLACE_ORDER")
    output = run(block.replace(PRINTED_PORT, suite.url.removeprefix("http://")), person, tmp_path)

    assert re.search(r"^OK: [1-9]\d* records", output, re.MULTILINE), output


def run(script: str, person: Person, folder: Path) -> str:
    token = person.headers["Authorization"].removeprefix("Bearer ")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # the environment that has `cryptography`
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder,
        env={"TOKEN": token, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
