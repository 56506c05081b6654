"""An archive of all data about oneself, from all services of a running suite."""

import asyncio
import io
import json
from zipfile import ZipFile

from tests.suite.accounts import LAPTOP, register
from tests.suite.conftest import Suite

SECONDS_MAX = 60


async def test_everything_about_a_person_is_in_one_archive(each_suite: Suite) -> None:
    async with each_suite.client() as client:
        person, other = await register(client), await register(client)
        order = (await client.post("/orders", json=LAPTOP, headers=person.headers)).json()
        await client.post("/orders", json=LAPTOP, headers=other.headers)
        sent = {"file": ("notes.txt", b"mine", "text/plain")}
        file = (await client.post("/storage/upload", files=sent, headers=person.headers)).json()
        export = (await client.post("/auth/me/export", headers=person.headers)).json()
        address = f"/auth/me/exports/{export['id']}"
        async with asyncio.timeout(SECONDS_MAX):
            while (await client.get(address, headers=person.headers)).json()["state"] != "done":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        response = await client.get(f"{address}/archive", headers=person.headers)
        assert (await client.get(f"{address}/archive", headers=other.headers)).status_code == 404

    with ZipFile(io.BytesIO(response.content)) as archive:
        lines = {
            name: [json.loads(line) for line in archive.read(name).decode().splitlines()]
            for name in archive.namelist()
            if name.endswith(".jsonl")
        }
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest["missing"] == []
    assert [one["id"] for one in lines["orders/orders.jsonl"]] == [order["id"]]
    assert [one["name"] for one in lines["files/files.jsonl"]] == ["notes.txt"], file
    assert lines["auth/account.jsonl"][0]["email"] == person.email
    assert lines["users/profile.jsonl"][0]["id"] == person.id
    assert "REQUEST_EXPORT" not in {one["action"] for one in lines["orders/orders.jsonl"] if "action" in one}
    assert "REGISTER" in {one["action"] for one in lines["audit/records.jsonl"]}
    assert other.id not in json.dumps(lines)
