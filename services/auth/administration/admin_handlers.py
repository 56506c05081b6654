"""The account endpoints for admins."""

from urllib.parse import urlencode

from pydantic import TypeAdapter
from sqlmodel import Session
from starlette.responses import Response

from services.auth.administration import accounts
from services.auth.administration.schemas import (
    AccountDetailsOut,
    AdminChange,
    ListAccounts,
    SignInsOut,
    WithReason,
)
from services.auth.administration.sign_ins import sign_ins_by_account
from services.auth.factors.factors import Factors
from services.auth.mails.mails import Mails
from services.auth.models import Account
from services.auth.schemas import AccountOut, ChangeAccount
from services.auth.sessions.sessions import Sessions
from shared.errors import NotFound
from shared.events import Trail
from shared.http.inputs import JSON
from shared.http.schemas import Id, Page
from shared.lists.pagination import PageQuery

_BY_ID: TypeAdapter[dict[str, SignInsOut]] = TypeAdapter(dict[str, SignInsOut])


def list_accounts(query: ListAccounts, session: Session) -> Page[AccountOut]:
    """List accounts, newest first, or find one by its exact name. To search parts of names, use `/users`."""
    return accounts.find_page(session, query)


def show_account_details(account_id: Id, session: Session, factors: Factors) -> AccountDetailsOut:
    """Show an account and how it is protected."""
    account = session.get(Account, account_id)
    if account is None:
        raise NotFound
    return AccountDetailsOut(
        **AccountOut.model_validate(account).model_dump(),
        has_password=account.password_hash is not None,
        second_factors=factors.kinds_of(session, account.id),
    )


def administer_account(
    account_id: Id, body: AdminChange, sessions: Sessions, session: Session, mails: Mails, trail: Trail
) -> AccountOut:
    """Change an account's role or status, which ends its sessions. The last admin cannot be removed."""
    trail.add(**body.recorded)
    change = ChangeAccount(**body.changes)
    return AccountOut.model_validate(accounts.change(session, account_id, change, sessions, mails, trail))


def sign_out_account(
    account_id: Id, body: WithReason, sessions: Sessions, session: Session, trail: Trail
) -> None:
    """End all sessions of an account. Its tokens are refused within a second."""
    trail.add(**body.recorded)
    accounts.sign_out(session, account_id, sessions)


def reset_account_factors(
    account_id: Id,
    body: WithReason,
    sessions: Sessions,
    session: Session,
    factors: Factors,
    mails: Mails,
    trail: Trail,
) -> None:
    """Remove the second factors of an account whose owner lost them, and end its sessions."""
    trail.add(**body.recorded)
    accounts.reset_factors(session, account_id, sessions, factors, mails)


def list_sign_ins_of_users(query: PageQuery, session: Session) -> dict[str, SignInsOut] | Response:
    """List the users by id, newest first, with their sign-ins. Their addresses are in the audit log."""
    found, following = sign_ins_by_account(session, query)
    headers = {"Cache-Control": "no-store"}
    if following is not None:
        headers["Link"] = f'<?{urlencode({"limit": query.limit, "cursor": following})}>; rel="next"'
    return Response(_BY_ID.dump_json(found), headers=headers, media_type=JSON)
