"""Responses of the classic API, under the field names of the first web interface."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr

from services.inventory.schemas import AccountName, AccountOut, KeyId, Region, WorkspaceOut
from shared.http.schemas import Input, Output, example

TERMINATED = "TERMINATED"
BEGINS = ("CreateWorkspaces", "TerminateWorkspaces")


class OffsetPage(Output):
    """One page; `total` counts all rows, up to 100,000."""

    total: int
    limit: int
    offset: int


class ClassicWorkspace(Output):
    model_config = example({"workspace_id": "ws-0a1b2c3d4", "user_name": "ann", "state": "AVAILABLE"})

    workspace_id: str
    user_name: str
    user_display_name: str | None
    directory_id: str
    ip_address: str | None
    state: str
    bundle_id: str | None
    subnet_id: str | None
    computer_name: str | None
    running_mode: str | None
    root_volume_size_gib: int | None
    user_volume_size_gib: int | None
    compute_type: str | None
    created_at: datetime | None
    terminated_at: datetime | None
    last_known_user_connection_timestamp: datetime | None
    created_by: str | None
    terminated_by: str | None
    tags: dict[str, str] | None
    updated_at: datetime

    @classmethod
    def of(
        cls,
        row: Mapping[str, Any],
        events: Mapping[str, Mapping[str, Any]],
        person: Mapping[str, Any] | None,
    ) -> Self:
        """Build it from a row, the CloudTrail events that created and terminated it, and its user."""
        native = WorkspaceOut.of(row)
        begun, ended = (events.get(name, {"at": None, "username": None}) for name in BEGINS)
        fields = {
            "user_display_name": person and person["display_name"],
            "state": row["state"] if row["gone"] is None else TERMINATED,
            "root_volume_size_gib": row["root_gib"],
            "user_volume_size_gib": row["user_gib"],
            "created_at": begun["at"],
            "created_by": begun["username"],
            "terminated_at": row["gone"] and (ended["at"] or row["gone"]),
            "terminated_by": row["gone"] and ended["username"],
            "last_known_user_connection_timestamp": row["last_connection"],
            "tags": native.tags,
            "updated_at": row["updated"],
        }
        return cls.unchecked(row, **fields)


class ClassicUsage(Output):
    model_config = example({"workspace_id": "ws-0a1b2c3d4", "month": "2026-01", "usage_hours": 84.5})

    id: str
    workspace_id: str
    month: str
    usage_hours: float
    user_name: str | None
    bundle_id: str | None
    running_mode: str | None
    created_at: datetime
    updated_at: datetime


class ClassicCost(Output):
    model_config = example({"workspace_id": "ws-0a1b2c3d4", "start_date": "2026-01-31", "amount": 12.01})

    id: str
    workspace_id: str
    service: str
    usage_type: str
    start_date: str
    end_date: str
    amount: float
    unit: str
    currency: str
    created_at: datetime
    user_name: str | None
    full_name: str | None


class ClassicEvent(Output):
    model_config = example({"event_name": "StopWorkspaces", "event_time": "2026-01-31T12:00:00Z"})

    id: str
    event_id: str
    event_name: str
    event_time: datetime
    event_source: str | None
    username: str | None
    user_identity: Any
    workspace_id: str | None
    request_parameters: Any
    response_elements: Any
    event_region: str
    aws_region: str
    source_ip_address: str | None
    created_at: datetime


class ClassicWorkspaces(OffsetPage):
    model_config = example({"data": [], "total": 0, "limit": 20, "offset": 0})

    data: list[ClassicWorkspace]


class ClassicUsages(OffsetPage):
    model_config = example({"data": [], "total": 0, "limit": 20, "offset": 0})

    data: list[ClassicUsage]


class ClassicCosts(OffsetPage):
    model_config = example({"data": [], "total": 0, "limit": 50, "offset": 0})

    data: list[ClassicCost]


class ClassicEvents(OffsetPage):
    model_config = example({"data": [], "total": 0, "limit": 50, "offset": 0})

    data: list[ClassicEvent]


class SyncRecord(Output):
    model_config = example({"sync_type": "all", "status": "completed", "records_processed": 300})

    id: str
    sync_type: str
    status: Literal["running", "completed", "partial", "failed", "cancelled"]
    records_processed: int
    error_message: str | None
    started_at: datetime
    completed_at: datetime | None
    created_at: datetime


class SyncRecords(Output):
    model_config = example({"data": []})

    data: list[SyncRecord]


class HoursOut(Output):
    """The hours of one month; unlike those of the native API, they are rounded numbers."""

    model_config = example(
        {"workspace_count": 300, "total_hours": 25350.5, "avg_hours": 84.5, "max_hours": 420.0}
        | {"min_hours": 0.0}
    )

    workspace_count: int
    total_hours: float
    avg_hours: float
    max_hours: float
    min_hours: float


class ClassicDashboard(Output):
    model_config = example({"total_workspaces": 300, "active_workspaces": 180, "stopped_workspaces": 120})

    total_workspaces: int
    active_workspaces: int
    stopped_workspaces: int
    terminated_workspaces: int
    total_monthly_cost: float
    recent_activity: list[SyncRecord]
    current_month_usage: HoursOut
    last_sync: str | None


class ClassicOptions(Output):
    model_config = example({"states": ["AVAILABLE"], "runningModes": ["AUTO_STOP"]})

    states: list[str]
    running_modes: list[str]
    runningModes: list[str]  # noqa: N815 - the field's name
    bundles: list[str]


class ClassicMetrics(Output):
    model_config = example({"workspace_id": "ws-0a1b2c3d4", "usage": [], "billing": []})

    workspace_id: str
    usage: list[ClassicUsage]
    billing: list[ClassicCost]


class ClassicSync(Output):
    model_config = example(
        {"message": "The sync was started.", "sync_id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a"}
        | {"sync_type": "all"}
    )

    message: str
    sync_id: str
    sync_type: str


class AddClassicAccount(Input):
    """An AWS account with keys; empty fields count as not given."""

    model_config = example(
        {
            "name": "production",
            "region": "eu-central-1",
            "accessKeyId": "AKIAIOSFODNN7EXAMPLE",
            "secretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "isDefault": True,
        }
    )

    name: AccountName
    region: Region
    accessKeyId: KeyId  # noqa: N815
    secretAccessKey: Annotated[SecretStr, Field(min_length=16, max_length=200)]  # noqa: N815
    isDefault: bool = False  # noqa: N815


class ChangeClassicAccount(Input):
    """Any fields of an account; empty ones stay as they are."""

    model_config = example({"name": "production", "region": "eu-central-1", "isDefault": True})

    name: AccountName | None = None
    region: Region | None = None
    accessKeyId: KeyId | Literal[""] | None = None  # noqa: N815
    secretAccessKey: Annotated[SecretStr, Field(max_length=200)] | None = None  # noqa: N815
    isDefault: bool | None = None  # noqa: N815


class ClassicAccount(Output):
    model_config = example(
        {
            "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "name": "production",
            "accountId": "123456789012",
            "region": "eu-central-1",
            "isDefault": True,
            "isActive": True,
            "status": "connected",
            "lastSync": "2026-01-31T12:00:00Z",
            "createdAt": "2026-01-31T12:00:00Z",
            "updatedAt": "2026-01-31T12:00:00Z",
        }
    )

    id: str
    name: str
    accountId: str | None  # noqa: N815
    region: str
    isDefault: bool  # noqa: N815
    isActive: bool  # noqa: N815
    status: str
    lastSync: datetime | None  # noqa: N815
    createdAt: datetime  # noqa: N815
    updatedAt: datetime  # noqa: N815

    @classmethod
    def of(cls, native: AccountOut) -> Self:
        return cls(
            id=native.id,
            name=native.name,
            accountId=native.account_number,
            region=native.regions[0],
            isDefault=native.is_default,
            isActive=native.status != "disabled",
            status=native.status,
            lastSync=native.last_sync,
            createdAt=native.created,
            updatedAt=native.updated,
        )


class ClassicAccounts(Output):
    model_config = example({"accounts": []})

    accounts: list[ClassicAccount]


class Done(Output):
    model_config = example({"message": "The AWS account was deleted."})

    message: str


class ClassicTest(Output):
    model_config = example(
        {"status": "connected", "message": "Connected.", "accountId": "123456789012", "details": ""}
    )

    status: str
    message: str
    accountId: str | None  # noqa: N815
    arn: str | None
    details: str


class AccountSync(Output):
    model_config = example(
        {"message": "The sync was started.", "account_id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a"}
        | {"account_name": "production"}
    )

    message: str
    account_id: str
    account_name: str


class ClassicAnswer(Output):
    model_config = example({"response": "Number of WorkSpaces: 300.", "tokens": 4})

    response: str
    tokens: int


class ClassicHealth(Output):
    model_config = example({"status": "healthy"})

    status: Literal["healthy"]


def rounded(amount: Decimal) -> float:
    return round(float(amount), 2)
