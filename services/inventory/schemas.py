"""Request and response schemas of the inventory service."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, model_validator

from services.inventory.aws import regions
from services.inventory.models import AccountStatus
from shared.errors import FieldFault, Invalid
from shared.http.schemas import Id, Input, Output, Query, Text, Versioned, example
from shared.lists.pagination import PageQuery
from shared.words import pattern

ROLE_ARN = pattern(
    r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+$",
    "must be the ARN of a role, for example arn:aws:iam::123456789012:role/gatehouse",
)
EXTERNAL_ID = pattern(r"^[A-Za-z0-9_+=,.@:/-]+$", "may contain only letters, digits and + = , . @ : / - _")
ENDPOINT = pattern(
    r"^https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?$",
    "must be a URL with no path, for example https://aws.example.com",
)
REGION = pattern(r"^[a-z0-9-]+$", "must be an AWS region, for example eu-central-1")
KEY_ID = pattern(
    r"^[A-Z0-9]{16,}$", "must be an access key id: at least 16 capital letters and digits, for example AKIA…"
)
WORKSPACE_ID = pattern(r"^ws-[a-z0-9]+$", "must be the id of a WorkSpace, for example ws-0a1b2c3d4")

AccountName = Annotated[Text, Field(max_length=100)]
RoleArn = Annotated[str, StringConstraints(max_length=600, pattern=ROLE_ARN)]
ExternalId = Annotated[str, StringConstraints(min_length=2, max_length=1224, pattern=EXTERNAL_ID)]
EndpointUrl = Annotated[str, StringConstraints(max_length=300, pattern=ENDPOINT)]
WorkspaceId = Annotated[str, StringConstraints(max_length=60, pattern=WORKSPACE_ID)]


def _each_once(regions: list[str]) -> list[str]:
    if len(set(regions)) != len(regions):
        raise ValueError("must not name a region twice")
    return regions


Region = Annotated[str, StringConstraints(max_length=30, pattern=REGION)]
Regions = Annotated[list[Region], Field(min_length=1, max_length=40), AfterValidator(_each_once)]


KeyId = Annotated[str, StringConstraints(max_length=128, pattern=KEY_ID)]
Secret = Annotated[SecretStr, Field(min_length=16, max_length=200)]


class AddAccount(Input):
    """An AWS account; without keys it uses the service's own credentials."""

    model_config = example(
        {
            "name": "production",
            "regions": ["eu-central-1"],
            "role_arn": "arn:aws:iam::123456789012:role/gatehouse",
            "external_id": "0198c0de-5f00",
        }
    )

    name: AccountName
    regions: Regions
    role_arn: RoleArn | None = None
    external_id: ExternalId | None = None
    access_key_id: KeyId | None = None
    secret_access_key: Secret | None = None
    endpoint_url: EndpointUrl | None = None
    is_default: bool = False

    @model_validator(mode="after")
    def _both_halves(self) -> Self:
        _check_halves(self)
        return self


class ChangeAccount(Input):
    """Any fields of an account; `is_active: false` leaves it out of syncs."""

    model_config = example({"regions": ["eu-central-1", "us-east-1"]})

    name: AccountName | None = None
    regions: Regions | None = None
    role_arn: RoleArn | None = None
    external_id: ExternalId | None = None
    access_key_id: KeyId | None = None
    secret_access_key: Secret | None = None
    endpoint_url: EndpointUrl | None = None
    is_default: bool | None = None
    is_active: bool | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        required = ("name", "regions", "is_default", "is_active")
        if not self.model_fields_set or any(
            name in self.model_fields_set and getattr(self, name) is None for name in required
        ):
            raise ValueError("give at least one field to change, and null only for optional fields")
        _check_halves(self)
        return self


def _check_halves(account: "AddAccount | ChangeAccount") -> None:
    if (account.access_key_id is None) != (account.secret_access_key is None):
        raise ValueError("give access_key_id and secret_access_key together")


class AccountOut(Versioned):
    """An account. Of its keys, only the last four characters of the id are shown."""

    model_config = example(
        {
            "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "name": "production",
            "account_number": "123456789012",
            "role_arn": "arn:aws:iam::123456789012:role/gatehouse",
            "external_id": "0198c0de-5f00",
            "access_key_id": None,
            "has_secret": False,
            "endpoint_url": None,
            "regions": ["eu-central-1"],
            "is_default": True,
            "status": "connected",
            "status_detail": [],
            "last_sync": "2026-01-31T12:00:00Z",
            "created": "2026-01-31T12:00:00Z",
            "updated": "2026-01-31T12:00:00Z",
            "version": 3,
        }
    )

    id: str
    name: str
    account_number: str | None
    role_arn: str | None
    external_id: str | None
    access_key_id: str | None
    has_secret: bool
    endpoint_url: str | None
    regions: list[str]
    is_default: bool
    status: AccountStatus
    status_detail: list[str]
    last_sync: datetime | None
    created: datetime
    updated: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        lists = {name: json.loads(row[name]) for name in ("regions", "status_detail")}
        key_id = row["access_key_id"] and f"…{row['access_key_id'][-4:]}"
        given = {"access_key_id": key_id, "has_secret": row["secret"] is not None}
        return cls.unchecked(row, **lists, **given, status=AccountStatus(row["status"]))


class PermissionOut(Output):
    """Whether the account has a permission that a sync uses; `allowed` is null if that was not tested."""

    model_config = example({"action": "workspaces:DescribeWorkspaces", "allowed": True, "message": None})

    action: str
    allowed: bool | None
    message: str | None


class AccountTest(Output):
    """The result of testing an account."""

    model_config = example(
        {
            "status": "limited",
            "account_number": "123456789012",
            "arn": "arn:aws:sts::123456789012:assumed-role/gatehouse/gatehouse-inventory",
            "region": "eu-central-1",
            "permissions": [
                {"action": "tag:GetResources", "allowed": False, "message": "not authorized"},
            ],
            "status_detail": ["tag:GetResources is missing: tags stay unknown."],
        }
    )

    status: AccountStatus
    account_number: str | None
    arn: str | None
    region: str
    permissions: list[PermissionOut]
    status_detail: list[str]


def _a_tag(text: str) -> str:
    key, colon, _ = text.partition(":")
    if not (key and colon):
        raise ValueError("must be a key and a value separated by a colon, for example team:red")
    return text


Name = Annotated[str, StringConstraints(min_length=1, max_length=300)]


class WorkspaceFilters(Query):
    """Filters for WorkSpaces."""

    state: Name | None = Field(
        default=None, description="Only WorkSpaces in this state, for example AVAILABLE."
    )
    running_mode: Name | None = Field(default=None, description="AUTO_STOP, ALWAYS_ON or MANUAL.")
    user_name: Name | None = Field(default=None, description="Only WorkSpaces of this directory user.")
    directory: Name | None = Field(default=None, description="Only WorkSpaces in the directory with this id.")
    bundle: Name | None = Field(default=None, description="Only WorkSpaces of the bundle with this id.")
    account: Id | None = Field(default=None, description="Only WorkSpaces of this account.")
    region: Name | None = Field(default=None, description="Only WorkSpaces in this region.")
    tag: Annotated[str, StringConstraints(max_length=400), AfterValidator(_a_tag)] | None = Field(
        default=None,
        description="Only WorkSpaces with this tag, as key:value; the key ends at the first colon.",
    )
    gone: bool = Field(
        default=False, description="Only WorkSpaces that AWS no longer lists, instead of those it does."
    )
    unused_days: int | None = Field(
        default=None, ge=1, le=3650, description="Only WorkSpaces without a connection for this many days."
    )
    search: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)] | None = (
        Field(default=None, description="Text in the id, user, computer name, IP address or a tag value.")
    )


class ListWorkspaces(WorkspaceFilters, PageQuery):
    """Filters and paging of the list."""


class WorkspaceOut(Versioned):
    """A WorkSpace as AWS last described it; fields for which the account lacks a permission are null."""

    model_config = example(
        {
            "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "workspace_id": "ws-0a1b2c3d4",
            "account": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "region": "eu-central-1",
            "directory_id": "d-0010000000",
            "user_name": "ann",
            "ip_address": "10.0.0.7",
            "state": "AVAILABLE",
            "previous_state": "STOPPED",
            "state_changed": "2026-01-31T12:00:00Z",
            "error": None,
            "bundle_id": "wsb-stand0002",
            "bundle_name": "Standard with Windows 10",
            "subnet_id": "subnet-0001",
            "computer_name": "WSAMZN-000007",
            "running_mode": "AUTO_STOP",
            "auto_stop_minutes": 60,
            "root_gib": 80,
            "user_gib": 50,
            "compute_type": "STANDARD",
            "os": "WINDOWS_10",
            "protocols": ["PCOIP"],
            "encrypted_root": True,
            "encrypted_user": True,
            "connection_state": "DISCONNECTED",
            "last_connection": "2026-01-30T16:00:00Z",
            "tags": {"team": "red"},
            "first_seen": "2026-01-01T12:00:00Z",
            "last_seen": "2026-01-31T12:00:00Z",
            "gone": None,
            "updated": "2026-01-31T12:00:00Z",
            "version": 2,
        }
    )

    id: str
    workspace_id: str
    account: str
    region: str
    directory_id: str
    user_name: str
    ip_address: str | None
    state: str
    previous_state: str | None
    state_changed: datetime
    error: str | None
    bundle_id: str | None
    bundle_name: str | None
    subnet_id: str | None
    computer_name: str | None
    running_mode: str | None
    auto_stop_minutes: int | None
    root_gib: int | None
    user_gib: int | None
    compute_type: str | None
    os: str | None
    protocols: list[str]
    encrypted_root: bool
    encrypted_user: bool
    connection_state: str | None
    last_connection: datetime | None
    tags: dict[str, str] | None
    first_seen: datetime
    last_seen: datetime
    gone: datetime | None
    updated: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        tags = None if row["tags"] is None else json.loads(row["tags"])
        return cls.unchecked(row, tags=tags, protocols=json.loads(row["protocols"]))


class ChangeOut(Output):
    """A changed field, with the time of the sync that noticed it."""

    model_config = example(
        {"id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a", "at": "2026-01-31T12:00:00Z", "field": "state"}
        | {"before": "STOPPED", "after": "AVAILABLE"}
    )

    id: str
    at: datetime
    field: str
    before: str | None
    after: str | None


class NamedOut(Output):
    model_config = example({"id": "d-0010000000", "name": "corp.example.com"})

    id: str
    name: str | None


class OptionsOut(Output):
    """The values that each filter of the list may have, 200 each at most."""

    model_config = example(
        {
            "states": ["AVAILABLE", "STOPPED"],
            "running_modes": ["ALWAYS_ON", "AUTO_STOP"],
            "bundles": ["wsb-stand0002"],
            "directories": [{"id": "d-0010000000", "name": "corp.example.com"}],
            "regions": ["eu-central-1"],
            "accounts": [{"id": "0198c0de-4b20-7c31-9000-a7d8e9f01234", "name": "production"}],
            "tag_keys": ["team"],
        }
    )

    states: list[str]
    running_modes: list[str]
    bundles: list[str]
    directories: list[NamedOut]
    regions: list[str]
    accounts: list[NamedOut]
    tag_keys: list[str]


def check_regions(named: Sequence[str], field: str = "regions") -> None:
    """Refuse regions that do not exist or have no WorkSpaces."""
    unknown = [one for one in named if one not in regions()]
    if unknown:
        message = f"{unknown[0]} is not a region with WorkSpaces; choose from {', '.join(regions())}"
        raise Invalid(errors=[FieldFault(field=field, code="unknown_region", message=message)])
