"""AWS accounts: their credentials, and the status derived from AWS's responses."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select, update
from sqlmodel import Session

from services.inventory.aws import Target
from services.inventory.models import ACCOUNTS, Account, AccountStatus
from shared.clock import now
from shared.data.database import one_row
from shared.errors import NotFound

LIVE = ACCOUNTS.c.deleted.is_(None)


def live(session: Session) -> list[dict[str, Any]]:
    """List all accounts that are not deleted, oldest first; there are a few hundred at most."""
    found = select(ACCOUNTS).where(LIVE).order_by(ACCOUNTS.c.id)
    return [dict(row) for row in session.connection().execute(found).mappings()]


def read(session: Session, account_id: str) -> dict[str, Any]:
    row = one_row(session, select(ACCOUNTS).where(ACCOUNTS.c.id == account_id, LIVE))
    if row is None:
        raise NotFound
    return row


def locked(session: Session, account_id: str) -> Account:
    """Read the account and lock its row until this transaction ends."""
    found = session.get(Account, account_id, with_for_update=True)
    if found is None or found.deleted is not None:
        raise NotFound
    return found


def target_of(row: Mapping[str, Any]) -> Target:
    names = ("id", "version", "role_arn", "external_id", "access_key_id", "secret", "endpoint_url")
    return Target(**{name: row[name] for name in names})


def keep_number(session: Session, account_id: str, number: str) -> None:
    """Save the account number that AWS has reported."""
    same = update(ACCOUNTS).where(ACCOUNTS.c.id == account_id)
    session.connection().execute(same.values(account_number=number))


def twin(session: Session, account_id: str, number: str) -> str | None:
    """Return the name of another stored account with the same number at AWS."""
    found = select(ACCOUNTS.c.name).where(
        LIVE, ACCOUNTS.c.account_number == number, ACCOUNTS.c.id != account_id
    )
    name: str | None = session.connection().execute(found.limit(1)).scalar()
    return name


def keep_status(
    session: Session, account_id: str, status: AccountStatus, detail: Sequence[str], *, synced: bool = False
) -> None:
    """Save the status of an account, unless an admin has disabled it."""
    values: dict[str, Any] = {"status": status, "status_detail": json.dumps([*detail])}
    if synced:
        values["last_sync"] = now()
    one = update(ACCOUNTS).where(ACCOUNTS.c.id == account_id, ACCOUNTS.c.status != AccountStatus.DISABLED)
    session.connection().execute(one.values(values))


def set_default(session: Session, account_id: str) -> None:
    """Clear `is_default` on all other accounts."""
    others = update(ACCOUNTS).where(ACCOUNTS.c.id != account_id, ACCOUNTS.c.is_default)
    session.connection().execute(others.values(is_default=False))
