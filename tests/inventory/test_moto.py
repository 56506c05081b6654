"""STS and CloudWatch as moto understands them: a role in another account, and the hours of its WorkSpace."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import boto3
import httpx
import pytest

from shared.clock import now
from tests import moto
from tests.inventory import aws
from tests.inventory.aws import REGION, Double, World
from tests.inventory.support import ADMIN, USER, add_account, sync

ROLE = "arn:aws:iam::210987654321:role/gatehouse"


@pytest.fixture(scope="module")
def moto_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with moto.serving(tmp_path_factory.mktemp("moto")) as url:
        yield url


def client(api: str, url: str, key_id: str, secret: str, token: str | None = None) -> Any:
    keys = {"aws_access_key_id": key_id, "aws_secret_access_key": secret, "aws_session_token": token}
    return boto3.client(api, endpoint_url=url, region_name=REGION, **keys)


def connect_yesterday(url: str, workspace_id: str) -> datetime:
    """Store six samples, five minutes apart, in the account of the role; return the time of the first."""
    sts = client("sts", url, aws.KEY_ID, aws.SECRET)
    role = sts.assume_role(RoleArn=ROLE, RoleSessionName="test", ExternalId=aws.EXTERNAL_ID)["Credentials"]
    begin = now().replace(hour=10, minute=0, second=0, microsecond=0) - timedelta(days=1)
    keys = (role["AccessKeyId"], role["SecretAccessKey"], role["SessionToken"])
    sample = {
        "MetricName": "UserConnected",
        "Dimensions": [{"Name": "WorkspaceId", "Value": workspace_id}],
        "Value": 1.0,
    }
    samples = [{**sample, "Timestamp": begin + timedelta(minutes=5 * one)} for one in range(6)]
    client("cloudwatch", url, *keys).put_metric_data(Namespace="AWS/WorkSpaces", MetricData=samples)
    return begin


async def test_hours_are_read_with_a_role_in_another_account(
    inventory: httpx.AsyncClient, moto_url: str, double: Double, world: World
) -> None:
    aws.add_workspaces(world, 1, 1)
    (workspace_id,) = world.place().workspaces
    begin = connect_yesterday(moto_url, workspace_id)
    account = await add_account(inventory, double)
    assert (await sync(inventory, kind="workspaces"))["state"] == "completed"
    role = {"endpoint_url": moto_url, "role_arn": ROLE, "external_id": aws.EXTERNAL_ID}
    path = f"/admin/aws-accounts/{account['id']}"
    changed = await inventory.put(path, json=role, headers=ADMIN)
    assert changed.status_code == 200, changed.text
    calls = len(world.calls)
    done = await sync(inventory, kind="usage")
    shown = (await inventory.get(f"/workspaces/{workspace_id}/metrics", headers=USER)).json()

    assert (done["state"], len(world.calls)) == ("completed", calls), "it asked moto"
    assert [(one["day"], one["connected_minutes"], one["sessions"]) for one in shown["days"]] == [
        (begin.date().isoformat(), 30, 1)
    ]
