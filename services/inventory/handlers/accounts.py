"""Handlers for AWS accounts; admins only."""

from sqlmodel import Session

from services.inventory import account_changes, accounts
from services.inventory.aws import Aws
from services.inventory.schemas import AccountOut, AccountTest, AddAccount, ChangeAccount
from services.inventory.settings import Settings
from shared.data.database import Database
from shared.data.sealed import SealedColumn
from shared.events import Trail
from shared.http.preconditions import IfMatch
from shared.http.schemas import Id


def list_accounts(session: Session) -> list[AccountOut]:
    """List the AWS accounts, oldest first."""
    return [AccountOut.of(row) for row in accounts.live(session)]


def add_account(
    body: AddAccount, settings: Settings, sealed: SealedColumn, session: Session, trail: Trail
) -> AccountOut:
    """Add an AWS account. Test it afterwards to check its credentials."""
    trail.add(name=body.name)
    return account_changes.add(session, body, settings, sealed)


def show_account(account_id: Id, session: Session) -> AccountOut:
    """Show one AWS account."""
    return AccountOut.of(accounts.read(session, account_id))


def change_account(
    account_id: Id,
    body: ChangeAccount,
    if_match: IfMatch,
    settings: Settings,
    sealed: SealedColumn,
    session: Session,
    trail: Trail,
) -> AccountOut:
    """Change an AWS account; new credentials reset its status to pending."""
    account = accounts.locked(session, account_id)
    if_match.check(account.version)
    trail.add(fields=sorted(body.model_fields_set))
    return account_changes.change(session, account, body, settings, sealed)


def delete_account(account_id: Id, if_match: IfMatch, session: Session) -> None:
    """Delete an AWS account; data read from it stays."""
    account = accounts.locked(session, account_id)
    if_match.check(account.version)
    account_changes.delete(account)


async def test_account(account_id: Id, aws: Aws, database: Database, trail: Trail) -> AccountTest:
    """Check an account's credentials and permissions with AWS, within 10 seconds.

    Cost Explorer charges for requests, so its permissions are those that the last sync found.
    """
    found = await account_changes.tested(account_id, aws, database)
    trail.resource = account_id
    trail.add(status=found.status)
    return found
