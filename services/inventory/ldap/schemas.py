"""Request and response schemas of LDAP servers."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, StringConstraints

from services.inventory.ldap.filters import BadFilter, encoded_for_all
from services.inventory.models import AccountStatus
from shared.http.schemas import Input, Output, Text, Versioned, example
from shared.words import pattern

URL = pattern(
    r"^ldaps?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$",
    "must be ldaps://host or ldap://host, with a port if it is not 636 or 389",
)
DEFAULT_FILTER = "(&(objectClass=user)(sAMAccountName={username}))"


def _with_a_port(url: str) -> str:
    try:
        _ = urlsplit(url).port
    except ValueError as error:
        raise ValueError("must have a port of at most 65535") from error
    return url


def _a_filter(text: str) -> str:
    try:
        encoded_for_all(text)
    except BadFilter as error:
        raise ValueError(str(error)) from error
    return text


ServerName = Annotated[Text, Field(min_length=1, max_length=100)]
ServerUrl = Annotated[str, StringConstraints(max_length=300, pattern=URL), AfterValidator(_with_a_port)]
Dn = Annotated[Text, Field(min_length=1, max_length=500)]
Password = Annotated[SecretStr, Field(min_length=1, max_length=500)]
SearchFilter = Annotated[Text, Field(max_length=1000), AfterValidator(_a_filter)]


class AddLdapServer(Input):
    """A directory server; `ldap://` uses StartTLS, so that the password is never sent in the clear."""

    model_config = example(
        {
            "name": "head office",
            "server_url": "ldaps://dc1.corp.example.com",
            "base_dn": "dc=corp,dc=example,dc=com",
            "bind_username": "cn=inventory,dc=corp,dc=example,dc=com",
            "bind_password": "eleven-hidden-otters",
            "search_filter": DEFAULT_FILTER,
        }
    )

    name: ServerName
    server_url: ServerUrl
    base_dn: Dn
    bind_username: Dn
    bind_password: Password
    search_filter: SearchFilter = DEFAULT_FILTER
    is_default: bool = False


class ChangeLdapServer(Input):
    """Any fields of a server."""

    model_config = example({"base_dn": "ou=people,dc=corp,dc=example,dc=com"})

    name: ServerName | None = None
    server_url: ServerUrl | None = None
    base_dn: Dn | None = None
    bind_username: Dn | None = None
    bind_password: Password | None = None
    search_filter: SearchFilter | None = None
    is_default: bool | None = None
    is_active: bool | None = None


class LdapServerOut(Versioned):
    """A directory server, without its password."""

    model_config = example(
        {
            "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "name": "head office",
            "server_url": "ldaps://dc1.corp.example.com",
            "base_dn": "dc=corp,dc=example,dc=com",
            "bind_username": "cn=inventory,dc=corp,dc=example,dc=com",
            "search_filter": DEFAULT_FILTER,
            "is_default": True,
            "status": "connected",
            "status_detail": None,
            "last_sync": "2026-01-31T12:00:00Z",
            "created": "2026-01-31T12:00:00Z",
            "updated": "2026-01-31T12:00:00Z",
            "version": 2,
        }
    )

    id: str
    name: str
    server_url: str
    base_dn: str
    bind_username: str
    search_filter: str
    is_default: bool
    status: AccountStatus
    status_detail: str | None
    last_sync: datetime | None
    created: datetime
    updated: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        return cls.unchecked(row, status=AccountStatus(row["status"]))


class LdapTest(Output):
    """The result of a test: connected, limited if the search found no user, or error."""

    model_config = example({"status": "connected", "detail": None})

    status: Literal["connected", "limited", "error"]
    detail: str | None


class LdapSyncStarted(Output):
    model_config = example(
        {
            "job_id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "server_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "server_name": "head office",
            "message": "The directory is being read.",
        }
    )

    job_id: str
    server_id: str
    server_name: str
    message: str
