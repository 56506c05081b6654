"""Tests which of the permissions that a sync uses are granted to an AWS account."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

from services.inventory.aws import HOME_REGION, WHO, Aws, AwsFailed, Call, Kind, Tally, Target
from services.inventory.errors import AwsAway
from services.inventory.models import AccountStatus
from services.inventory.schemas import AccountTest, PermissionOut
from services.inventory.sync import billing, cloudwatch, directories, prices, syncs, trail, usage, workspaces

SECONDS_MAX = 9.0
NO_WORKSPACE = "ws-000000000"


@dataclass(frozen=True, slots=True)
class Probe:
    """A read-only call, and what a sync lacks without its permission."""

    call: Call
    without: str
    region: str | None = None  # instead of the account's


PROBES = (
    Probe(
        Call("workspaces", "describe_workspaces", workspaces.LIST, {"Limit": 1}), "no WorkSpaces are found"
    ),
    Probe(
        Call("workspaces", "describe_workspace_directories", directories.ACTION),
        "directories have no names",
    ),
    Probe(
        Call(
            "workspaces",
            "describe_workspaces_connection_status",
            workspaces.CONNECTIONS,
            {"WorkspaceIds": [NO_WORKSPACE]},
        ),
        "connections stay unknown",
    ),
    Probe(
        Call(
            "workspaces",
            "describe_workspace_bundles",
            workspaces.BUNDLES,
            {"BundleIds": ["wsb-000000000"]},
        ),
        "bundles have no names",
    ),
    Probe(Call("cloudtrail", "lookup_events", trail.ACTION, {"MaxResults": 1}), "no events are read"),
    Probe(
        Call("cloudwatch", "get_metric_data", cloudwatch.ACTION, usage.smallest_query()),
        "usage hours stay unknown",
    ),
    Probe(
        Call("pricing", "get_products", prices.ACTION, {"ServiceCode": prices.SERVICE_CODE, "MaxResults": 1}),
        "no prices are known, so advice has no savings",
        HOME_REGION,
    ),
    Probe(
        Call("resourcegroupstaggingapi", "get_resources", workspaces.TAGGED, {"ResourcesPerPage": 1}),
        "tags stay unknown",
    ),
)


WITHOUT_COSTS = {
    billing.BY_RESOURCE: "costs are per usage type, not per WorkSpace",
    syncs.BY_USAGE: "no costs are read",
}
# Each of these calls would cost a cent, so only syncs test them.
UNTESTED = [
    PermissionOut(action=action, allowed=None, message="Tested only by syncs, because AWS charges for it.")
    for action in WITHOUT_COSTS
]


async def probe(aws: Aws, target: Target, region: str) -> AccountTest:
    """Test an account; raises AwsAway if AWS does not respond in time."""
    try:
        async with asyncio.timeout(SECONDS_MAX):
            return await _probe(aws, target, region)
    except TimeoutError:
        raise AwsAway from None


async def _probe(aws: Aws, target: Target, region: str) -> AccountTest:
    try:
        who = await aws.call(target, HOME_REGION, WHO, Tally())
    except AwsFailed as error:
        if error.kind in (Kind.AWAY, Kind.THROTTLED):
            raise AwsAway from error
        return _refused(error, region)
    asked = [*await asyncio.gather(*(_ask(aws, target, region, one) for one in PROBES)), *UNTESTED]
    missing = [one for one in asked if one.allowed is False]
    without = {one.call.action: one.without for one in PROBES}
    detail = [f"{one.action} is missing: {without[one.action]}." for one in missing]
    return AccountTest(
        status=AccountStatus.LIMITED if missing else AccountStatus.CONNECTED,
        account_number=str(who["Account"]),
        arn=str(who["Arn"]),
        region=region,
        permissions=asked,
        status_detail=detail,
    )


def with_costs(found: AccountTest, denied: Collection[str]) -> AccountTest:
    """Add the permissions that the last sync of costs lacked."""
    if found.status not in (AccountStatus.CONNECTED, AccountStatus.LIMITED) or not denied:
        return found
    message = "Denied in the last sync of costs."
    permissions = [
        one.model_copy(update={"allowed": False, "message": message}) if one.action in denied else one
        for one in found.permissions
    ]
    detail = [f"{action} is missing: {WITHOUT_COSTS[action]}." for action in sorted(denied)]
    update = {"permissions": permissions, "status_detail": [*found.status_detail, *detail]}
    return found.model_copy(update={**update, "status": AccountStatus.LIMITED})


async def _ask(aws: Aws, target: Target, region: str, one: Probe) -> PermissionOut:
    try:
        await aws.call(target, one.region or region, one.call, Tally())
    except AwsFailed as error:
        if error.kind in (Kind.AWAY, Kind.THROTTLED):
            raise AwsAway from error
        if error.kind is Kind.DENIED or error.kind is Kind.CREDENTIALS:
            return PermissionOut(action=one.call.action, allowed=False, message=error.message)
    # AWS checks the permission first, so any other error (such as an unknown id) means that it is granted.
    return PermissionOut(action=one.call.action, allowed=True, message=None)


def _refused(error: AwsFailed, region: str) -> AccountTest:
    return AccountTest(
        status=AccountStatus.ERROR,
        account_number=None,
        arn=None,
        region=region,
        permissions=[PermissionOut(action=error.action, allowed=False, message=error.message)],
        status_detail=[f"{error.action} failed with {error.code}: {error.message}"],
    )
