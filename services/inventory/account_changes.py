"""Adding, changing and testing AWS accounts, whatever the form of the request."""

import json
from typing import Any

from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from services.inventory import accounts
from services.inventory.aws import Aws
from services.inventory.errors import NameTaken
from services.inventory.models import ACCOUNTS, Account, AccountStatus
from services.inventory.probing import probe, with_costs
from services.inventory.schemas import AccountOut, AccountTest, AddAccount, ChangeAccount, check_regions
from services.inventory.settings import Settings
from services.inventory.sync import syncs
from shared.clock import now
from shared.data.database import Database
from shared.data.sealed import SealedColumn
from shared.errors import FieldFault, Invalid


def add(session: Session, body: AddAccount, settings: Settings, sealed: SealedColumn) -> AccountOut:
    check_regions(body.regions)
    _check_endpoint(body.endpoint_url, settings)
    given = body.model_dump(exclude={"secret_access_key", "regions"})
    account = Account(**given, regions=json.dumps(body.regions))
    if body.secret_access_key is not None:
        account.secret = sealed.seal(account.id, body.secret_access_key.get_secret_value())
    try:
        session.connection().execute(insert(ACCOUNTS).values(account.model_dump()))
    except IntegrityError as error:
        raise NameTaken from error
    if body.is_default:
        accounts.set_default(session, account.id)
    return AccountOut.of(account.model_dump())


def change(
    session: Session, account: Account, body: ChangeAccount, settings: Settings, sealed: SealedColumn
) -> AccountOut:
    """Change a locked account; new credentials reset its status to pending."""
    values = {name: getattr(body, name) for name in body.model_fields_set}
    check_regions(values.get("regions", []))
    _check_endpoint(values.get("endpoint_url"), settings)
    if "secret_access_key" in values:
        secret = values.pop("secret_access_key")
        values["secret"] = secret and sealed.seal(account.id, secret.get_secret_value())
    _apply(account, values)
    account.touch()
    session.add(account)
    try:
        session.flush()
    except IntegrityError as error:
        raise NameTaken from error
    if account.is_default:
        accounts.set_default(session, account.id)
    return AccountOut.of(account.model_dump())


def _apply(account: Account, values: dict[str, Any]) -> None:
    is_active = values.pop("is_active", None)
    if "regions" in values:
        values["regions"] = json.dumps(values["regions"])
    if values.keys() & {"role_arn", "external_id", "access_key_id", "secret", "endpoint_url"}:
        values |= {"account_number": None, "status_detail": "[]"}
        if account.status != AccountStatus.DISABLED:
            values["status"] = AccountStatus.PENDING
    if is_active is False:
        values["status"] = AccountStatus.DISABLED
    elif is_active and account.status == AccountStatus.DISABLED:
        values["status"] = AccountStatus.PENDING
    for name, value in values.items():
        setattr(account, name, value)


def delete(account: Account) -> None:
    account.deleted = now()
    account.is_default = False
    account.touch()


async def tested(account_id: str, aws: Aws, database: Database) -> AccountTest:
    """Test the account with AWS, and save the result."""
    row = await database.read(accounts.read, account_id)
    found = await probe(aws, accounts.target_of(row), json.loads(row["regions"])[0])
    return await database.run(_keep, account_id, found)


def _keep(session: Session, account_id: str, found: AccountTest) -> AccountTest:
    number = found.account_number
    if number is not None:
        twin = accounts.twin(session, account_id, number)
        if twin is not None:
            detail = [f"This is the same AWS account as {twin}; delete one of them."]
            found = found.model_copy(update={"status": AccountStatus.ERROR, "status_detail": detail})
        else:
            accounts.keep_number(session, account_id, number)
    found = with_costs(found, syncs.denied_costs(session, account_id))
    accounts.keep_status(session, account_id, found.status, found.status_detail)
    return found


def _check_endpoint(url: str | None, settings: Settings) -> None:
    if url is not None and not settings.may_override_endpoint:
        message = "is not allowed here; leave it out, or ask the operator to set AWS_ENDPOINT_OVERRIDE=on"
        raise Invalid(errors=[FieldFault(field="endpoint_url", code="not_allowed", message=message)])
