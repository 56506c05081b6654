"""The internal account API for other services of the suite."""

from sqlmodel import Session

from services.auth.administration import accounts
from services.auth.administration.schemas import FindAccounts, FoundAccountsOut
from services.auth.credentials.passwords import Passwords
from services.auth.credentials.policy import PasswordPolicy
from services.auth.factors.factors import Factors
from services.auth.mails.mails import Mails
from services.auth.models import Account
from services.auth.schemas import AccountOut, ChangeAccount, CreateAccount
from services.auth.sessions.sessions import Sessions
from shared.data.database import Database
from shared.errors import NotFound
from shared.events import Trail
from shared.http.schemas import Id


def show_account(account_id: Id, session: Session) -> AccountOut:
    """Show an account."""
    account = session.get(Account, account_id)
    if account is None:
        raise NotFound
    return AccountOut.model_validate(account)


def find_accounts(query: FindAccounts, session: Session) -> FoundAccountsOut:
    """Show up to 100 accounts; unknown ones are left out."""
    return FoundAccountsOut(accounts=accounts.find_all(session, query.id))


async def create_account(
    body: CreateAccount, database: Database, passwords: Passwords, policy: PasswordPolicy, trail: Trail
) -> AccountOut:
    """Create an account without signing in to it; its owner chooses another password at the first sign-in."""
    account = await accounts.create(body, body.role, database, passwords, policy, trail)
    return AccountOut.model_validate(account)


def change_account(
    account_id: Id, body: ChangeAccount, sessions: Sessions, session: Session, mails: Mails, trail: Trail
) -> AccountOut:
    """Change the names, role or status of an account. The old e-mail address is notified of a new one."""
    return AccountOut.model_validate(accounts.change(session, account_id, body, sessions, mails, trail))


def reset_factors(
    account_id: Id, sessions: Sessions, session: Session, factors: Factors, mails: Mails
) -> None:
    """Remove the second factors of an account whose owner lost them, and end its sessions."""
    accounts.reset_factors(session, account_id, sessions, factors, mails)


def delete_account(
    account_id: Id, sessions: Sessions, session: Session, factors: Factors, trail: Trail
) -> None:
    """Delete an account: erase its personal data and keep its id."""
    accounts.delete(session, account_id, sessions, factors, trail)
