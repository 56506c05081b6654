"""How the users service handles events about accounts."""

from collections.abc import Sequence

from sqlmodel import Session

from contracts.events import AccountChanged, AccountCreated, AccountDeleted, AccountState
from contracts.exports import exporting, table_section
from services.users import profiles
from services.users.accounts import Account
from services.users.models import MEMBERS, PREFERENCES, PROFILES, SETTINGS
from shared.events import Consumers


def keep_accounts(session: Session, events: Sequence[AccountState]) -> None:
    """Create the profiles of new accounts, and update the others."""
    renamed = {event.account_id for event in events if event.names_changed}
    profiles.keep_accounts(session, [_account(event, event.account_id in renamed) for event in events])


def forget_people(session: Session, events: Sequence[AccountDeleted]) -> None:
    """Anonymise the profiles of deleted accounts."""
    profiles.forget(session, {event.account_id: event.deleted for event in events})


def _account(event: AccountState, is_renamed: bool) -> Account:
    """Return the account of an event; `is_renamed` says whether any event of the batch changed its names."""
    state = event.model_dump(exclude={"account_id", "names_changed"})
    return Account(id=event.account_id, names_changed=is_renamed, **state)


EXPORTED = [
    table_section("profile", PROFILES, "id", without=("search",)),
    table_section("preferences", PREFERENCES, "user_id", key="user_id", without=("user_id",)),
    table_section("team_member", MEMBERS, "user_id", key="user_id", without=("user_id",)),
    table_section("settings", SETTINGS, "owner", without=("owner", "sealed", "changed_by")),
]
CONSUMES: Consumers = {
    AccountCreated: keep_accounts,
    AccountChanged: keep_accounts,
    AccountDeleted: forget_people,
    **exporting("users", EXPORTED),
}
