"""AWS accounts: adding, changing and testing them, without disclosing secrets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from services.inventory.app import create_app
from services.inventory.models import ACCOUNTS, EVENTS
from services.inventory.settings import Settings
from shared.data.database import Database
from shared.process.settings import SettingsError
from shared.testing import running
from tests.inventory import aws
from tests.inventory.aws import EXTERNAL_ID, NUMBER, REGION, ROLE, Double, World
from tests.inventory.support import ADMIN, USER, add_account, listed, sync
from tests.told import records, told

OTHER_NUMBER = "210987654321"
UNKNOWN = "/admin/aws-accounts/0198c0de-5f00-7a10-8000-3f2b8c1de04a"
KEY_ID, SECRET = "AKIASTORED0000000042", "a/secret+that+is+stored/000000000000000"
OTHER_ROLE = f"arn:aws:iam::{OTHER_NUMBER}:role/gatehouse"


async def probe(inventory: httpx.AsyncClient, account: dict[str, Any]) -> httpx.Response:
    return await inventory.post(f"/admin/aws-accounts/{account['id']}/test", headers=ADMIN)


class TestAddAccount:
    async def test_added_account_is_pending_and_can_be_shown(
        self, inventory: httpx.AsyncClient, double: Double
    ) -> None:
        account = await add_account(inventory, double, is_default=True)
        response = await inventory.get(f"/admin/aws-accounts/{account['id']}", headers=ADMIN)

        assert response.json() == account
        assert (account["status"], account["account_number"]) == ("pending", None)
        assert response.headers["etag"] == '"1"'

    async def test_name_is_taken_until_the_account_is_deleted(
        self, inventory: httpx.AsyncClient, double: Double
    ) -> None:
        account = await add_account(inventory, double)
        body = {"name": "production", "regions": [REGION]}
        again = await inventory.post("/admin/aws-accounts", json=body, headers=ADMIN)
        assert (again.status_code, again.json()["code"]) == (409, "name_taken")
        deleted = await inventory.delete(f"/admin/aws-accounts/{account['id']}", headers=ADMIN)
        assert deleted.status_code == 204
        gone = await inventory.get(f"/admin/aws-accounts/{account['id']}", headers=ADMIN)
        assert gone.status_code == 404
        again = await inventory.post("/admin/aws-accounts", json=body, headers=ADMIN)
        assert again.status_code == 201

    async def test_at_most_one_account_is_the_default(
        self, inventory: httpx.AsyncClient, double: Double
    ) -> None:
        await add_account(inventory, double, is_default=True)
        await add_account(inventory, double, name="second", is_default=True)
        rows = (await inventory.get("/admin/aws-accounts", headers=ADMIN)).json()

        assert [(row["name"], row["is_default"]) for row in rows] == [("production", False), ("second", True)]

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"name": ""}, "name"),
            ({"name": "x" * 101}, "name"),
            ({"regions": []}, "regions"),
            ({"regions": [REGION, REGION]}, "regions"),
            ({"regions": ["eu-nowhere-1"]}, "regions"),
            ({"regions": ["../x"]}, "regions.0"),
            ({"role_arn": "arn:aws:iam::1:role/x"}, "role_arn"),
            ({"external_id": "x"}, "external_id"),
            ({"endpoint_url": "file:///etc/passwd"}, "endpoint_url"),
            ({"endpoint_url": "http://user:word@host"}, "endpoint_url"),
            ({"secret_access_key": "x"}, "secret_access_key"),
            ({"secret_access_key": "x" * 40}, "body"),
            ({"access_key_id": "AKIA0000000000000001"}, "body"),
            ({"access_key_id": "akia/../x"}, "access_key_id"),
            ({"status": "connected"}, "status"),
        ],
    )
    async def test_malformed_account_is_refused_with_the_name_of_the_field(
        self, inventory: httpx.AsyncClient, changes: dict[str, Any], field: str
    ) -> None:
        body = {"name": "production", "regions": [REGION], **changes}
        response = await inventory.post("/admin/aws-accounts", json=body, headers=ADMIN)

        assert response.status_code == 422, response.text
        assert [error["field"] for error in response.json()["errors"]] == [field]

    async def test_endpoint_is_refused_if_overrides_are_off(
        self, make_inventory_settings: Callable[..., Settings], double: Double
    ) -> None:
        settings = make_inventory_settings(aws_endpoint_override="off")
        body = {"name": "production", "regions": [REGION], "endpoint_url": double.url}
        async with running(create_app, settings) as inventory:
            response = await inventory.post("/admin/aws-accounts", json=body, headers=ADMIN)

        assert (response.status_code, response.json()["errors"][0]["code"]) == (422, "not_allowed")

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/admin/aws-accounts"),
            ("POST", "/admin/aws-accounts"),
            ("GET", UNKNOWN),
            ("PUT", UNKNOWN),
            ("DELETE", UNKNOWN),
            ("POST", f"{UNKNOWN}/test"),
        ],
    )
    async def test_accounts_are_for_admins_only_and_unknown_ones_are_404(
        self, inventory: httpx.AsyncClient, method: str, path: str
    ) -> None:
        body = {"name": "a", "regions": [REGION]} if method in ("POST", "PUT") else None
        assert (await inventory.request(method, path, json=body)).status_code == 401
        assert (await inventory.request(method, path, json=body, headers=USER)).status_code == 403
        if path != "/admin/aws-accounts":
            response = await inventory.request(method, path, json=body, headers=ADMIN)
            assert response.status_code == 404


class TestChangeAccount:
    async def test_changing_the_role_resets_the_status_and_the_account_number(
        self, inventory: httpx.AsyncClient, double: Double
    ) -> None:
        account = await add_account(inventory, double)
        await probe(inventory, account)
        path, body = f"/admin/aws-accounts/{account['id']}", {"role_arn": ROLE, "external_id": EXTERNAL_ID}
        response = await inventory.put(path, json=body, headers={**ADMIN, "If-Match": '"1"'})

        changed = response.json()
        assert (changed["status"], changed["account_number"], changed["version"]) == ("pending", None, 2)
        stale = await inventory.put(path, json=body, headers={**ADMIN, "If-Match": '"1"'})
        assert stale.status_code == 412

    async def test_disabled_account_is_left_out_of_syncs(
        self, inventory: httpx.AsyncClient, double: Double
    ) -> None:
        account = await add_account(inventory, double)
        path = f"/admin/aws-accounts/{account['id']}"
        await inventory.put(path, json={"is_active": False}, headers=ADMIN)
        refused = await inventory.post("/sync/trigger", headers=ADMIN)
        assert refused.json()["code"] == "nothing_to_sync"
        changed = (await inventory.put(path, json={"is_active": True}, headers=ADMIN)).json()
        assert changed["status"] == "pending"

    @pytest.mark.parametrize("body", [{}, {"name": None}, {"regions": None}, {"is_active": "no"}])
    async def test_malformed_change_is_refused(
        self, inventory: httpx.AsyncClient, double: Double, body: dict[str, Any]
    ) -> None:
        account = await add_account(inventory, double)
        path = f"/admin/aws-accounts/{account['id']}"
        assert (await inventory.put(path, json=body, headers=ADMIN)).status_code == 422


class TestTestAccount:
    async def test_test_of_a_connected_account_saves_its_number(
        self, inventory: httpx.AsyncClient, double: Double, world: World
    ) -> None:
        account = await add_account(inventory, double)
        found = (await probe(inventory, account)).json()

        assert (found["status"], found["account_number"]) == ("connected", NUMBER)
        untested = [one["action"] for one in found["permissions"] if one["allowed"] is None]
        assert untested == ["ce:GetCostAndUsageWithResources", "ce:GetCostAndUsage"]
        assert all(one["allowed"] for one in found["permissions"] if one["action"] not in untested)
        assert [one for one in world.calls if one.startswith("GetCost")] == [], "these cost money"
        shown = (await inventory.get(f"/admin/aws-accounts/{account['id']}", headers=ADMIN)).json()
        assert (shown["status"], shown["account_number"]) == ("connected", NUMBER)

    async def test_missing_permission_is_named(
        self, inventory: httpx.AsyncClient, double: Double, world: World
    ) -> None:
        world.denied.add("workspaces:DescribeWorkspaceBundles")
        found = (await probe(inventory, await add_account(inventory, double))).json()

        assert found["status"] == "limited"
        assert found["status_detail"] == [
            "workspaces:DescribeWorkspaceBundles is missing: bundles have no names."
        ]

    async def test_permissions_for_costs_are_those_that_the_last_sync_found(
        self, inventory: httpx.AsyncClient, double: Double, world: World
    ) -> None:
        world.denied |= {"ce:GetCostAndUsageWithResources", "ce:GetCostAndUsage"}
        account = await add_account(inventory, double)
        assert (await probe(inventory, account)).json()["status"] == "connected"
        await sync(inventory)
        found = (await probe(inventory, account)).json()

        assert found["status"] == "limited"
        assert {one["action"]: one["allowed"] for one in found["permissions"] if not one["allowed"]} == {
            "ce:GetCostAndUsageWithResources": False,
            "ce:GetCostAndUsage": False,
        }
        assert "ce:GetCostAndUsage is missing: no costs are read." in found["status_detail"]
        world.denied.clear()
        await sync(inventory, kind="billing")
        assert (await probe(inventory, account)).json()["status"] == "connected"

    async def test_wrong_secret_is_an_error_with_the_message_of_aws(
        self, make_inventory_settings: Callable[..., Settings], double: Double
    ) -> None:
        settings = make_inventory_settings(aws_secret_access_key="a wrong secret of ours")
        async with running(create_app, settings) as inventory:
            found = (await probe(inventory, await add_account(inventory, double))).json()

        assert found["status"] == "error"
        (detail,) = found["status_detail"]
        assert detail.startswith("sts:GetCallerIdentity failed with SignatureDoesNotMatch: The request")

    async def test_account_with_its_own_keys_is_read_with_them(
        self, inventory: httpx.AsyncClient, double: Double, world: World, database_url: str
    ) -> None:
        world.keys[KEY_ID] = (SECRET, OTHER_NUMBER, "")
        aws.add_workspaces(world, 3, 2, account=OTHER_NUMBER)
        account = await add_account(inventory, double, access_key_id=KEY_ID, secret_access_key=SECRET)
        assert (account["access_key_id"], account["has_secret"]) == ("…0042", True)
        found = (await probe(inventory, account)).json()
        assert (found["status"], found["account_number"]) == ("connected", OTHER_NUMBER)
        await sync(inventory)
        assert len(await listed(inventory)) == 3

        world.keys[KEY_ID] = (SECRET[::-1], OTHER_NUMBER, "")
        assert (await probe(inventory, account)).json()["status"] == "error"
        path, body = (
            f"/admin/aws-accounts/{account['id']}",
            {"access_key_id": KEY_ID, "secret_access_key": SECRET[::-1]},
        )
        changed = await inventory.put(path, json=body, headers=ADMIN)
        assert changed.json()["status"] == "pending"
        assert (await probe(inventory, account)).json()["status"] == "connected"
        said = "".join(one.model_dump_json() for one in told(database_url, EVENTS)) + changed.text
        assert SECRET not in said
        assert SECRET[::-1] not in said
        removed = {"access_key_id": None, "secret_access_key": None}
        assert (await inventory.put(path, json=removed, headers=ADMIN)).json()["has_secret"] is False

    async def test_secret_copied_from_another_account_is_not_used(
        self, inventory: httpx.AsyncClient, double: Double, world: World, database_url: str
    ) -> None:
        world.keys[KEY_ID] = (SECRET, NUMBER, "")
        first = await add_account(inventory, double, access_key_id=KEY_ID, secret_access_key=SECRET)
        second = await add_account(
            inventory, double, name="second", access_key_id=KEY_ID, secret_access_key=SECRET[::-1]
        )
        database = Database(database_url)
        with database.transaction() as session:
            execute = session.connection().execute
            stolen = execute(select(ACCOUNTS.c.secret).where(ACCOUNTS.c.id == first["id"])).scalar_one()
            execute(update(ACCOUNTS).where(ACCOUNTS.c.id == second["id"]).values(secret=stolen))
        database.close()
        assert SECRET not in stolen
        found = (await probe(inventory, second)).json()

        assert found["status"] == "error"
        assert "The stored secret cannot be decrypted" in found["status_detail"][0]

    async def test_role_is_assumed_with_its_external_id(
        self, inventory: httpx.AsyncClient, double: Double, world: World
    ) -> None:
        world.roles[OTHER_ROLE] = EXTERNAL_ID
        aws.add_workspaces(world, 2, 1)
        aws.add_workspaces(world, 3, 2, account=OTHER_NUMBER)
        account = await add_account(
            inventory, double, name="other", role_arn=OTHER_ROLE, external_id=EXTERNAL_ID
        )
        found = (await probe(inventory, account)).json()
        assert (found["status"], found["account_number"]) == ("connected", OTHER_NUMBER)
        await sync(inventory)
        assert len(await listed(inventory)) == 3, "only those of the other account"

    @pytest.mark.parametrize("external_id", [None, "another-id"])
    async def test_role_without_its_external_id_is_an_error(
        self, inventory: httpx.AsyncClient, double: Double, external_id: str | None
    ) -> None:
        account = await add_account(inventory, double, role_arn=ROLE, external_id=external_id)
        found = (await probe(inventory, account)).json()

        assert found["status"] == "error"
        assert [(one["action"], one["allowed"]) for one in found["permissions"]] == [
            ("sts:AssumeRole", False)
        ]

    async def test_same_aws_account_twice_is_an_error_that_names_the_other(
        self, inventory: httpx.AsyncClient, double: Double
    ) -> None:
        await probe(inventory, await add_account(inventory, double))
        second = await add_account(inventory, double, name="again", role_arn=ROLE, external_id=EXTERNAL_ID)
        found = (await probe(inventory, second)).json()

        assert found["status"] == "error"
        assert "the same AWS account as production" in found["status_detail"][0]
        done = await sync(inventory, accounts=[second["id"]])
        assert done["state"] == "failed"

    async def test_unreachable_endpoint_is_a_503(self, inventory: httpx.AsyncClient, double: Double) -> None:
        account = await add_account(inventory, double, endpoint_url="http://127.0.0.1:9")
        response = await probe(inventory, account)

        assert (response.status_code, response.json()["code"]) == (503, "aws_unavailable")


async def test_no_secret_is_in_responses_events_records_or_logs(
    inventory: httpx.AsyncClient, double: Double, world: World, database_url: str, capsys: Any
) -> None:
    account = await add_account(inventory, double, role_arn=ROLE, external_id=EXTERNAL_ID)
    answers = [(await probe(inventory, account)).text]
    await sync(inventory)
    world.keys.clear()
    world.denied.add("workspaces:DescribeWorkspaces")
    await sync(inventory)
    paths = ("/admin/aws-accounts", "/sync/history", "/workspaces/filters/options")
    answers += [(await inventory.get(path, headers=ADMIN)).text for path in paths]
    output = "".join(capsys.readouterr())
    said = "".join([*answers, *(one.model_dump_json() for one in told(database_url, EVENTS)), output])

    assert "ADD_ACCOUNT" in said
    assert "sync_part_failed" in said
    for secret in (aws.SECRET, "session/secret", "a-session-token", aws.KEY_ID, "ASIADOUBLE"):
        assert secret not in said


async def test_audit_records_describe_actions_on_an_account(
    inventory: httpx.AsyncClient, double: Double, database_url: str
) -> None:
    account = await add_account(inventory, double)
    await probe(inventory, account)
    await inventory.put(
        f"/admin/aws-accounts/{account['id']}", json={"regions": ["us-east-1"]}, headers=ADMIN
    )
    await inventory.get("/admin/aws-accounts", headers=USER)

    kept = [(one["action"], one["outcome"], one["metadata"]) for one in records(database_url, EVENTS)]
    assert kept == [
        ("ADD_ACCOUNT", "success", {"name": "production"}),
        ("TEST_ACCOUNT", "success", {"status": "connected"}),
        ("CHANGE_ACCOUNT", "success", {"fields": ["regions"]}),
        ("LIST_ACCOUNTS", "refused", {}),
    ]


@pytest.mark.parametrize(
    "values",
    [
        {"aws_access_key_id": "AKIA0000000000000001"},
        {"aws_secret_access_key": "secret"},
        {"aws_access_key_id": "AKIA/../x", "aws_secret_access_key": "secret"},
    ],
)
def test_half_a_key_pair_in_the_settings_is_refused_at_start(
    values: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    for name, value in values.items():
        monkeypatch.setenv(name.upper(), value)
    with pytest.raises(SettingsError, match="AWS_"):
        Settings.load()
