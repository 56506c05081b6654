"""Identities in the database. Each belongs to one account."""

from typing import Any

from sqlalchemy import Row, delete, func, select, update
from sqlmodel import Session

from services.auth.errors import LastWayIn, TooManyIdentities
from services.auth.models import IDENTITIES, PASSKEYS, Account
from services.auth.provider_models import Identity
from services.auth.providers.person import Person
from shared.clock import now
from shared.data.database import insert_into
from shared.errors import NotFound

PER_ACCOUNT_MAX = 20


class ChangedMeanwhile(Exception):
    """A concurrent request has connected or disconnected this identity, or changed its account."""


def identity_of(session: Session, person: Person) -> Row[Any] | None:
    mine = IDENTITIES.c.issuer == person.issuer, IDENTITIES.c.subject == person.subject
    return session.connection().execute(select(IDENTITIES).where(*mine)).first()


def note_use(session: Session, identity_id: str, provider: str, person: Person) -> None:
    """Note a sign-in. The account is locked first, so the identity cannot be disconnected afterwards."""
    shown = {"used": now(), "uses": IDENTITIES.c.uses + 1, "provider": provider, "email": person.email}
    used = update(IDENTITIES).where(IDENTITIES.c.id == identity_id).values(**shown)
    if session.connection().execute(used).rowcount != 1:
        raise ChangedMeanwhile


def connect(session: Session, account: Account, provider: str, person: Person) -> None:
    """Connect an identity to an account. A unique index decides concurrent requests."""
    if _number(session, account.id) >= PER_ACCOUNT_MAX:
        raise TooManyIdentities
    row = Identity(
        account_id=account.id,
        issuer=person.issuer,
        subject=person.subject,
        provider=provider,
        email=person.email,
    ).model_dump()
    adding = insert_into(session, IDENTITIES).values(row)
    added = adding.on_conflict_do_nothing(index_elements=["issuer", "subject"]).returning(IDENTITIES.c.id)
    if session.connection().execute(added).first() is None:
        raise ChangedMeanwhile


def remove_identity(session: Session, account: Account, identity_id: str) -> Row[Any]:
    """Remove an identity of a locked account, unless it is the only way to sign in."""
    mine = IDENTITIES.c.id == identity_id, IDENTITIES.c.account_id == account.id
    row = session.connection().execute(delete(IDENTITIES).where(*mine).returning(IDENTITIES)).first()
    if row is None:
        raise NotFound
    has_passkey = select(PASSKEYS.c.id).where(PASSKEYS.c.account_id == account.id).limit(1)
    others = _number(session, account.id), session.connection().execute(has_passkey).first() is not None
    if account.password_hash is None and not any(others):
        raise LastWayIn
    return row


def identities_of(session: Session, account_id: str) -> list[Row[Any]]:
    mine = select(IDENTITIES).where(IDENTITIES.c.account_id == account_id).order_by(IDENTITIES.c.id)
    return list(session.connection().execute(mine.limit(PER_ACCOUNT_MAX)))


def delete_identities(session: Session, account_id: str) -> None:
    session.connection().execute(delete(IDENTITIES).where(IDENTITIES.c.account_id == account_id))


def _number(session: Session, account_id: str) -> int:
    mine = select(func.count()).select_from(IDENTITIES).where(IDENTITIES.c.account_id == account_id)
    number: int = session.connection().execute(mine).scalar_one()
    return number
