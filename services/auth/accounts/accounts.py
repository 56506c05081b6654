"""Accounts in the database. Names are unique, and at least one admin always remains."""

from dataclasses import dataclass, fields

from sqlalchemy import ColumnElement, bindparam, select
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from services.auth.errors import EmailTaken, LastAdmin, UsernameTaken
from services.auth.events import tell_created
from services.auth.models import ACCOUNTS, Account, Role, Status
from services.auth.schemas import Register
from shared.data.statements import Rows


@dataclass(frozen=True, slots=True)
class KnownAccount:
    """A read-only account for sign-ins, which costs a tenth of loading one that can be changed."""

    id: str
    password_hash: str | None
    role: str
    status: str
    must_change_password: bool
    email: str | None
    username: str | None

    @property
    def may_sign_in(self) -> bool:
        return self.status == Status.ACTIVE

    @property
    def is_active_admin(self) -> bool:
        return self.role == Role.ADMIN and self.may_sign_in


_COLUMNS = select(*(ACCOUNTS.c[one.name] for one in fields(KnownAccount)))
_BY_EMAIL = Rows(_COLUMNS.where(ACCOUNTS.c.email == bindparam("name")))
_BY_USERNAME = Rows(_COLUMNS.where(ACCOUNTS.c.username_key == bindparam("name")))


def new_account(body: Register, password_hash: str) -> Account:
    account = Account(
        email=body.email,
        first_name=body.first_name,
        last_name=body.last_name,
        password_hash=password_hash,
    )
    account.name(body.username)
    return account


def add_account(session: Session, account: Account) -> Account:
    session.add(account)
    flush_names(session)
    tell_created(session, account)
    return account


def flush_names(session: Session) -> None:
    """Flush changes. The unique indexes decide who owns a name; a check beforehand would be a race."""
    try:
        session.flush()
    except IntegrityError as error:
        diagnostics = getattr(error.orig, "diag", None)
        broken = diagnostics.constraint_name if diagnostics is not None else str(error.orig)
        raise (UsernameTaken if "username" in broken else EmailTaken) from error


def account_named(session: Session, name: str) -> Account | None:
    """Find the account by its lower-case e-mail address or username; only addresses contain an @."""
    column = ACCOUNTS.c.email if "@" in name else ACCOUNTS.c.username_key
    return session.execute(select(Account).where(column == name)).scalar_one_or_none()


def known_account(session: Session, name: str) -> KnownAccount | None:
    """Find the account like account_named, but read-only."""
    row = (_BY_EMAIL if "@" in name else _BY_USERNAME).one(session, name=name)
    return None if row is None else KnownAccount(**row)


def locked_account(session: Session, account_id: str) -> Account | None:
    """Read and lock an account until this transaction ends; changes and sign-ins wait."""
    return session.get(Account, account_id, with_for_update=True, populate_existing=True)


def any_admin(session: Session) -> bool:
    return session.execute(select(ACCOUNTS.c.id).where(*_active_admin()).limit(1)).first() is not None


def lock_admins(session: Session) -> frozenset[str]:
    """Lock all active admins until this transaction ends, and return their ids.

    Otherwise two admins who demote each other would both see that the other remains. To avoid deadlocks, they
    are locked in a fixed order and before any other account.
    """
    admins = select(ACCOUNTS.c.id).where(*_active_admin()).order_by(ACCOUNTS.c.id).with_for_update()
    return frozenset(row.id for row in session.connection().execute(admins))


def refuse_last_admin(account: Account, admins: frozenset[str]) -> None:
    if admins == {account.id}:
        raise LastAdmin


def _active_admin() -> tuple[ColumnElement[bool], ...]:
    return ACCOUNTS.c.role == Role.ADMIN, ACCOUNTS.c.status == Status.ACTIVE
