"""Planted secrets appear in no response, export, log line, event, record or table."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from services.inventory.app import create_app
from services.inventory.models import EVENTS
from services.inventory.routes import OPERATIONS
from services.inventory.settings import Settings
from services.inventory.tables import Table
from shared.data.database import Database
from shared.testing import running
from tests.inventory import aws
from tests.inventory.aws import NUMBER, Double, World
from tests.inventory.support import ADMIN, add_account, sync
from tests.reports import begun, ended
from tests.shared.test_workbooks import read
from tests.told import told

PLANTED = {
    "of the service": aws.SECRET,
    "of an account": "planted/secret+of+an+account/0000000000000",
    "of a broken account": "planted/secret+of+a+broken+one/00000000000",
    "key of the seal": "planted-key-of-the-seal-8b1f5d0c9e7a6b2c4d",
    "key of the model": "planted-key-of-the-model-77aa01",
    "password of a directory": "planted-password-of-a-directory",
    "session": "session/secret",
    "session token": "a-session-token",
}
KEY_IDS = ("AKIAPLANTED000000001", "AKIAPLANTED000000002", aws.KEY_ID)
DIRECTORY = {
    "name": "directory",
    "server_url": "ldap://127.0.0.1:9",
    "base_dn": "dc=x",
    "bind_username": "cn=x",
    "bind_password": PLANTED["password of a directory"],
}
GETS = [one for one in OPERATIONS if one.method == "GET" and not one.path.endswith("/events")]


@pytest.fixture
async def filled(
    make_inventory_settings: Callable[..., Settings],
    database_url: str,
    double: Double,
    world: World,
) -> AsyncIterator[tuple[httpx.AsyncClient, list[Any]]]:
    """Three accounts: one with keys, one with a role, and one whose key AWS refuses; and the log."""
    aws.add_workspaces(world, 3, 1)
    world.keys[KEY_IDS[0]] = (PLANTED["of an account"], "210987654321", "")
    aws.add_workspaces(world, 2, 2, account="210987654321")
    settings = make_inventory_settings(
        database_url=database_url,
        key_secret=PLANTED["key of the seal"],
        ai_key=PLANTED["key of the model"],
    )
    with capture_logs() as log:
        async with running(create_app, settings) as client:
            keys = {"access_key_id": KEY_IDS[0], "secret_access_key": PLANTED["of an account"]}
            await add_account(client, double, name="keys", **keys)
            await add_account(client, double, name="role", role_arn=aws.ROLE, external_id=aws.EXTERNAL_ID)
            wrong = {"access_key_id": KEY_IDS[1], "secret_access_key": PLANTED["of a broken account"]}
            await add_account(client, double, name="broken", **wrong)
            await client.post("/admin/ldap-servers", json=DIRECTORY, headers=ADMIN)
            yield client, log


async def _answers(client: httpx.AsyncClient) -> list[str]:
    """Return the responses of every operation that reads, and of the tests of all accounts."""
    done = await sync(client)
    listed = (await client.get("/admin/aws-accounts", headers=ADMIN)).json()
    tests = [await client.post(f"/admin/aws-accounts/{one['id']}/test", headers=ADMIN) for one in listed]
    (server,) = (await client.get("/admin/ldap-servers", headers=ADMIN)).json()
    tests.append(await client.post(f"/admin/ldap-servers/{server['id']}/test", headers=ADMIN))
    values = {"account_id": listed[-1]["id"], "sync_id": done["id"], "event": done["id"]}
    values |= {"server_id": server["id"], "key": "aws.secret_access_key"}
    report = await begun(client, "/reports/inventory", ADMIN, kind="costs", format="csv", month="2026-01")
    await ended(client, "/reports/inventory", ADMIN, report)
    values |= {"job_id": report, "report_id": report}
    values["workspace_id"] = min(aws_ids(await client.get("/workspaces", headers=ADMIN)))
    answers = [one.text for one in tests]
    for operation in GETS:
        path = operation.path.format_map(values)
        forms = ("?format=csv", "?format=xlsx") if path.endswith("/export") else ("",)
        for form in forms:
            response = await client.get(path + form, headers=ADMIN)
            answers.append(f"{response.text}{response.headers}")
            if form.endswith("xlsx"):  # compressed
                answers[-1] += str(read(response.content))
    return answers


def aws_ids(response: httpx.Response) -> list[str]:
    return [one["workspace_id"] for one in response.json()]


def stored(database_url: str) -> list[str]:
    """Return all values of all tables, except the key ids, which are not secret."""
    database = Database(database_url, pool_size=1)
    try:
        with database.transaction(write=False) as session:
            execute = session.connection().execute
            return [
                repr([value for name, value in row.items() if name != "access_key_id"])
                for table in Table.metadata.sorted_tables
                for row in execute(select(table)).mappings()
            ]
    finally:
        database.close()


async def test_planted_secrets_appear_nowhere(
    filled: tuple[httpx.AsyncClient, list[Any]], database_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    client, log = filled
    answers = await _answers(client)
    envelopes = [one.model_dump_json() for one in told(database_url, EVENTS)]
    rows = stored(database_url)
    output = "".join(capfd.readouterr())

    assert len(answers) > len(GETS)
    assert any("sync_part_failed" in str(line) for line in log)
    assert any("ADD_ACCOUNT" in one for one in envelopes)
    assert any(f"'{NUMBER}'" in row for row in rows)
    said = "\n".join([*answers, *map(str, log), *envelopes, output])
    assert [name for name, secret in PLANTED.items() if secret in said] == []
    assert [one for one in KEY_IDS if one in said] == []
    everything = "\n".join(rows)
    assert [name for name, secret in PLANTED.items() if secret in everything] == []
