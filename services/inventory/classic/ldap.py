"""LDAP servers, configuration and settings in the classic API."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, SecretStr, StringConstraints

from services.inventory.classic.filters import Filters
from services.inventory.ldap.schemas import (
    DEFAULT_FILTER,
    Dn,
    LdapServerOut,
    Password,
    SearchFilter,
    ServerName,
    ServerUrl,
)
from shared.http.schemas import Input, Output, example
from shared.words import pattern

KEY = pattern(r"^[A-Za-z0-9._-]+$", "must be the key of a setting, such as sync.interval_minutes")
SettingKey = Annotated[str, StringConstraints(max_length=100, pattern=KEY)]


class AddClassicServer(Input):
    """A directory server."""

    model_config = example(
        {
            "name": "head office",
            "serverUrl": "ldaps://dc1.corp.example.com",
            "baseDn": "dc=corp,dc=example,dc=com",
            "bindUsername": "cn=inventory,dc=corp,dc=example,dc=com",
            "bindPassword": "eleven-hidden-otters",
            "searchFilter": DEFAULT_FILTER,
            "isDefault": True,
        }
    )

    name: ServerName
    serverUrl: ServerUrl  # noqa: N815 - the field's name
    baseDn: Dn  # noqa: N815
    bindUsername: Dn  # noqa: N815
    bindPassword: Password  # noqa: N815
    searchFilter: SearchFilter | Literal[""] = DEFAULT_FILTER  # noqa: N815
    isDefault: bool = False  # noqa: N815


class ChangeClassicServer(Input):
    """Any fields of a server; empty ones stay as they are."""

    model_config = example({"name": "head office", "isDefault": True})

    name: ServerName | None = None
    serverUrl: ServerUrl | Literal[""] | None = None  # noqa: N815
    baseDn: Dn | Literal[""] | None = None  # noqa: N815
    bindUsername: Dn | Literal[""] | None = None  # noqa: N815
    bindPassword: Annotated[SecretStr, Field(max_length=500)] | None = None  # noqa: N815
    searchFilter: SearchFilter | Literal[""] | None = None  # noqa: N815
    isDefault: bool | None = None  # noqa: N815


class ClassicServer(Output):
    model_config = example(
        {
            "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "name": "head office",
            "serverUrl": "ldaps://dc1.corp.example.com",
            "baseDn": "dc=corp,dc=example,dc=com",
            "bindUsername": "cn=inventory,dc=corp,dc=example,dc=com",
            "searchFilter": DEFAULT_FILTER,
            "isDefault": True,
            "isActive": True,
            "status": "connected",
            "lastSync": None,
            "createdAt": "2026-01-31T12:00:00Z",
            "updatedAt": "2026-01-31T12:00:00Z",
        }
    )

    id: str
    name: str
    serverUrl: str  # noqa: N815
    baseDn: str  # noqa: N815
    bindUsername: str  # noqa: N815
    searchFilter: str  # noqa: N815
    isDefault: bool  # noqa: N815
    isActive: bool  # noqa: N815
    status: str
    lastSync: datetime | None  # noqa: N815
    createdAt: datetime  # noqa: N815
    updatedAt: datetime  # noqa: N815

    @classmethod
    def of(cls, native: LdapServerOut) -> "ClassicServer":
        return cls(
            id=native.id,
            name=native.name,
            serverUrl=native.server_url,
            baseDn=native.base_dn,
            bindUsername=native.bind_username,
            searchFilter=native.search_filter,
            isDefault=native.is_default,
            isActive=native.status != "disabled",
            status=native.status,
            lastSync=native.last_sync,
            createdAt=native.created,
            updatedAt=native.updated,
        )


class ClassicServers(Output):
    model_config = example({"servers": []})

    servers: list[ClassicServer]


class ClassicServerTest(Output):
    model_config = example({"status": "connected", "message": "Connected.", "details": ""})

    status: str
    message: str
    details: str


class ServerSync(Output):
    model_config = example(
        {"message": "The directory is being read.", "server_id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a"}
        | {"server_name": "head office"}
    )

    message: str
    server_id: str
    server_name: str


class ClassicConfig(Output):
    model_config = example({"environment": "development", "ai_service": ""})

    environment: str
    ai_service: str


class ClassicSetting(Output):
    """One setting of the service. `value` is empty if it is not set, and masked if it is a secret."""

    model_config = example(
        {
            "key": "sync.interval_minutes",
            "value": "360",
            "encrypted": False,
            "category": "sync",
            "description": "SYNC_EVERY_MINUTES",
        }
    )

    key: str
    value: str
    encrypted: bool
    category: str
    description: str


class ClassicSettings(Output):
    model_config = example({"settings": {"sync": []}})

    settings: dict[str, list[ClassicSetting]]


class SettingsFilter(Filters):
    category: str | None = Field(default=None, max_length=50, description="Only settings of this category.")
