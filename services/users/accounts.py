"""Auth's accounts, read and changed through its internal API."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self
from urllib.parse import quote, urlencode

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from shared.errors import NotFound, Unavailable
from shared.peers.client import Peer, PeerRefusal

_UNKNOWN = (404, 422)  # 422: not an account id, such as the subject of an API client's own token

log = structlog.get_logger(__name__)


class _Answer(BaseModel):
    """A response of auth. Fields that auth adds later are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    def read(cls, document: Any) -> Self:
        """Validate auth's response. An invalid one is our defect, not the caller's."""
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_input=False)
            log.error("auth_answered_no_account", faults=faults)  # noqa: TRY400 - the faults are enough
            raise Unavailable from error


class Account(_Answer):
    """An account as auth returns it."""

    id: str
    email: str | None
    username: str | None
    role: str
    status: str
    first_name: str | None
    last_name: str | None
    created: datetime
    updated: datetime
    email_verified: bool = False
    names_changed: bool = False  # first and last name are newer than those of the profile


class FoundAccounts(_Answer):
    accounts: list[Account]


async def fetch_account(auth: Peer, account_id: str) -> Account | None:
    try:
        return Account.read(await auth.call("GET", _path(account_id)))
    except PeerRefusal as refusal:
        if refusal.status in _UNKNOWN:
            return None
        raise


async def fetch_accounts(auth: Peer, account_ids: Sequence[str]) -> list[Account]:
    """Return those of these accounts that auth knows, at most 100."""
    if not account_ids:
        return []
    query = urlencode([("id", one) for one in account_ids])
    found = await auth.call("GET", f"/internal/accounts?{query}")
    return FoundAccounts.read(found).accounts


async def create_account(auth: Peer, fields: dict[str, Any]) -> Account:
    return Account.read(await auth.call("POST", "/internal/accounts", fields))


async def change_account(auth: Peer, account_id: str, changes: dict[str, Any]) -> Account:
    try:
        return Account.read(await auth.call("PATCH", _path(account_id), changes))
    except PeerRefusal as refusal:
        if refusal.status == 404:
            raise NotFound from refusal
        raise


async def delete_account(auth: Peer, account_id: str) -> None:
    """Anonymise the account and end its sessions; idempotent."""
    try:
        await auth.call("DELETE", _path(account_id))
    except PeerRefusal as refusal:
        if refusal.status != 404:  # an account that auth does not know counts as deleted
            raise


def _path(account_id: str) -> str:
    return f"/internal/accounts/{quote(account_id, safe='')}"
