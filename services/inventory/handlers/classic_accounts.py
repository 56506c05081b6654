"""Handlers for AWS accounts in the classic API; admins only."""

from sqlmodel import Session

from services.inventory import account_changes, accounts
from services.inventory.aws import Aws
from services.inventory.classic.schemas import (
    AccountSync,
    AddClassicAccount,
    ChangeClassicAccount,
    ClassicAccount,
    ClassicAccounts,
    ClassicTest,
    Done,
)
from services.inventory.errors import AccountRefused
from services.inventory.models import AccountStatus
from services.inventory.schemas import AccountOut, AddAccount, ChangeAccount, check_regions
from services.inventory.settings import Settings
from services.inventory.sync import syncs
from shared.caller import Caller
from shared.data.database import Database
from shared.data.sealed import SealedColumn
from shared.events import Trail
from shared.http.schemas import Id
from shared.work.jobs import Jobs


def classic_accounts(session: Session) -> ClassicAccounts:
    """List the AWS accounts."""
    return ClassicAccounts(accounts=[ClassicAccount.of(AccountOut.of(row)) for row in accounts.live(session)])


def classic_account(account_id: Id, session: Session) -> ClassicAccount:
    """Show one AWS account."""
    return ClassicAccount.of(AccountOut.of(accounts.read(session, account_id)))


def classic_add_account(
    body: AddClassicAccount, settings: Settings, sealed: SealedColumn, session: Session, trail: Trail
) -> ClassicAccount:
    """Add an AWS account with keys."""
    trail.add(name=body.name)
    check_regions([body.region], "region")
    native = AddAccount(
        name=body.name,
        regions=[body.region],
        access_key_id=body.accessKeyId,
        secret_access_key=body.secretAccessKey,
        is_default=body.isDefault,
    )
    return ClassicAccount.of(account_changes.add(session, native, settings, sealed))


def classic_change_account(
    account_id: Id,
    body: ChangeClassicAccount,
    settings: Settings,
    sealed: SealedColumn,
    session: Session,
    trail: Trail,
) -> Done:
    """Change an AWS account; fields that are empty or left out stay as they are."""
    account = accounts.locked(session, account_id)
    names = {"name": "name", "accessKeyId": "access_key_id", "isDefault": "is_default"}
    values = {names[name]: value for name in names if (value := getattr(body, name)) not in (None, "")}
    if body.secretAccessKey:
        values["secret_access_key"] = body.secretAccessKey
    first, *others = AccountOut.of(account.model_dump()).regions
    if body.region is not None and body.region != first:
        check_regions([body.region], "region")
        values["regions"] = [body.region, *(one for one in others if one != body.region)]
    trail.add(fields=sorted(values))
    if values:
        account_changes.change(session, account, ChangeAccount(**values), settings, sealed)
    return Done(message="The AWS account was changed.")


def classic_delete_account(account_id: Id, session: Session) -> Done:
    """Delete an AWS account; data read from it stays."""
    account_changes.delete(accounts.locked(session, account_id))
    return Done(message="The AWS account was deleted.")


async def classic_test_account(account_id: Id, aws: Aws, database: Database) -> ClassicTest:
    """Check an account's credentials and permissions with AWS; 400 if AWS refuses its keys."""
    found = await account_changes.tested(account_id, aws, database)
    details = " ".join(found.status_detail)
    if found.status is AccountStatus.ERROR:
        raise AccountRefused(details)
    return ClassicTest(
        status=found.status,
        message="Connected." if found.status is AccountStatus.CONNECTED else "Permissions are missing.",
        accountId=found.account_number,
        arn=found.arn,
        details=details,
    )


def classic_sync_account(
    account_id: Id, caller: Caller, jobs: Jobs, session: Session, trail: Trail
) -> AccountSync:
    """Start a sync of one account."""
    account = accounts.read(session, account_id)
    trail.add(kind="all")
    syncs.start(session, jobs, kind="all", by=caller.id, account_ids=[account_id])
    return AccountSync(message="The sync was started.", account_id=account_id, account_name=account["name"])
