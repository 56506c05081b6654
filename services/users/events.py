"""How the users service handles events about accounts."""

from collections.abc import Sequence

from sqlmodel import Session

from contracts.events import AccountChanged, AccountCreated, AccountDeleted, AccountState
from services.users import profiles
from services.users.accounts import Account
from shared.events import Consumers


def keep_accounts(session: Session, events: Sequence[AccountState]) -> None:
    """Create the profiles of new accounts, and update the others."""
    profiles.keep_accounts(session, [_account(event) for event in events])


def forget_people(session: Session, events: Sequence[AccountDeleted]) -> None:
    """Anonymise the profiles of deleted accounts."""
    profiles.forget(session, {event.account_id: event.deleted for event in events})


def _account(event: AccountState) -> Account:
    return Account(id=event.account_id, **event.model_dump(exclude={"account_id"}))


CONSUMES: Consumers = {
    AccountCreated: keep_accounts,
    AccountChanged: keep_accounts,
    AccountDeleted: forget_people,
}
