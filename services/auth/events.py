"""The events about accounts that the auth service emits. What it consumes is in exports/."""

from sqlmodel import Session

from contracts.events import AccountChanged, AccountCreated, AccountDeleted
from services.auth.models import Account
from shared.events import emit


def tell_created(session: Session, account: Account) -> None:
    emit(session, AccountCreated(**_state(account)))


def tell_changed(session: Session, account: Account, *, names_changed: bool = False) -> None:
    emit(session, AccountChanged(**_state(account), names_changed=names_changed))


def tell_deleted(session: Session, account: Account) -> None:
    emit(session, AccountDeleted(account_id=account.id, deleted=account.updated))


def _state(account: Account) -> dict[str, object]:
    return {
        "account_id": account.id,
        "email": account.email,
        "username": account.username,
        "role": account.role,
        "status": account.status,
        "first_name": account.first_name,
        "last_name": account.last_name,
        "created": account.created,
        "updated": account.updated,
        "email_verified": account.email_verified,
    }
