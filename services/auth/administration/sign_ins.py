"""When users signed in last, and how often with a provider."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlmodel import Session

from services.auth.administration.schemas import SignInsOut
from services.auth.models import ACCOUNTS, IDENTITIES, SESSIONS, Status
from services.auth.schemas import AccountOut
from shared.lists.pagination import PageQuery, paginate


def sign_ins_by_account(session: Session, query: PageQuery) -> tuple[dict[str, SignInsOut], str | None]:
    """Return a page of users by id, newest first, and the cursor of the next page."""
    checked = [ACCOUNTS.c.status != Status.DELETED]
    page = paginate(session, select(ACCOUNTS), ACCOUNTS.c.id, query, _shown, checked=checked)
    ids = [one.id for one in page.items]
    last, uses = last_sign_ins(session, ids), _uses(session, ids)
    found = {}
    for account in page.items:
        found[account.id] = SignInsOut(
            email=account.email,
            first_login=account.created,
            last_login=last.get(account.id),
            login_count=uses.get(account.id, (None, 0))[1],
        )
    return found, page.next


def _shown(row: dict[str, Any]) -> AccountOut:
    return AccountOut.unchecked(row, email_verified=row["verified"] is not None)


def last_sign_ins(session: Session, ids: Sequence[str]) -> dict[str, datetime]:
    """Return the time of the last sign-in of each account, with a password or a provider."""
    found = _last_sessions(session, ids)
    for account_id, (used, _) in _uses(session, ids).items():
        if used is not None:
            found[account_id] = max(used, found.get(account_id, used))
    return found


def _last_sessions(session: Session, ids: Sequence[str]) -> dict[str, datetime]:
    """Return the time of each account's last sign-in whose session is still stored."""
    mine = SESSIONS.c.account_id.in_(ids), SESSIONS.c.client_id.is_(None)
    last = select(SESSIONS.c.account_id, func.max(SESSIONS.c.created)).where(*mine)
    rows = session.connection().execute(last.group_by(SESSIONS.c.account_id))
    return {row[0]: row[1] for row in rows}


def _uses(session: Session, ids: Sequence[str]) -> dict[str, tuple[Any, int]]:
    """Return the time of the last sign-in with a provider, and the number of them, of each account."""
    columns = IDENTITIES.c.account_id, func.max(IDENTITIES.c.used), func.sum(IDENTITIES.c.uses)
    grouped = select(*columns).where(IDENTITIES.c.account_id.in_(ids)).group_by(IDENTITIES.c.account_id)
    return {row[0]: (row[1], int(row[2])) for row in session.connection().execute(grouped)}
