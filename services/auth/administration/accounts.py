"""Operations of admins and other services on accounts, inside the caller's transaction."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlmodel import Session

from services.auth.access_keys.access_keys import delete_keys
from services.auth.accounts.accounts import (
    add_account,
    flush_names,
    lock_admins,
    locked_account,
    new_account,
    refuse_last_admin,
)
from services.auth.administration.schemas import ListAccounts
from services.auth.credentials.devices import forget_devices
from services.auth.credentials.passwords import Passwords
from services.auth.credentials.policy import PasswordPolicy
from services.auth.events import tell_changed, tell_deleted
from services.auth.exports.exports import delete_exports
from services.auth.factors.challenges import close_challenges
from services.auth.factors.factors import Factors
from services.auth.mails.links import forget_links
from services.auth.mails.mails import Mails, Template
from services.auth.models import ACCOUNTS, Account, Role, Status
from services.auth.providers.identities import delete_identities
from services.auth.schemas import AccountOut, ChangeAccount, Register
from services.auth.sessions.sessions import Sessions
from shared.data.database import Database
from shared.errors import NotFound
from shared.events import Trail
from shared.http.schemas import Page
from shared.lists.pagination import Walk, paginate


def find_page(session: Session, query: ListAccounts) -> Page[AccountOut]:
    """List accounts, without deleted ones by default. Each status with each role is one index walk."""
    found = select(ACCOUNTS)
    names = {"email": query.email, "username_key": query.username and query.username.lower()}
    named = [ACCOUNTS.c[name] == value for name, value in names.items() if value is not None]
    statuses = [query.status] if query.status else [one for one in Status if one is not Status.DELETED]
    roles = [query.role] if query.role else list(Role)
    if named:  # at most one account, found through a unique index
        among = ACCOUNTS.c.status.in_(statuses), ACCOUNTS.c.role.in_(roles)
        return paginate(session, found.where(*named, *among), ACCOUNTS.c.id, query, _shown)
    walks = [
        Walk(found.where(ACCOUNTS.c.status == status, ACCOUNTS.c.role == role), ACCOUNTS.c.id)
        for status in statuses
        for role in roles
    ]
    return paginate(session, walks, ACCOUNTS.c.id, query, _shown)


def find_all(session: Session, account_ids: Sequence[str]) -> list[AccountOut]:
    """Return those of these accounts that exist."""
    found = select(ACCOUNTS).where(ACCOUNTS.c.id.in_(account_ids))
    return [_shown(dict(row)) for row in session.connection().execute(found).mappings()]


def _shown(row: dict[str, object]) -> AccountOut:
    return AccountOut.unchecked(row, email_verified=row["verified"] is not None)


async def create(
    body: Register,
    role: Role,
    database: Database,
    passwords: Passwords,
    policy: PasswordPolicy,
    trail: Trail,
) -> Account:
    """Create an account without signing in to it; its owner chooses another password at the first sign-in."""
    policy.require(body.password, "password", body.email, body.username)
    account = new_account(body, await passwords.hash(body.password))
    account.role, account.must_change_password = role, True
    return await database.run(_add, account, trail)


def _add(session: Session, account: Account, trail: Trail) -> Account:
    trail.resource = add_account(session, account).id
    trail.write(session)
    return account


def change(
    session: Session, account_id: str, body: ChangeAccount, sessions: Sessions, mails: Mails, trail: Trail
) -> Account:
    """Change names, role or status; a new e-mail address, role or status ends the sessions."""
    # Only these two can remove an admin, so only they need to lock all admins.
    admins = lock_admins(session) if body.role or body.status else frozenset()
    account = locked_account(session, account_id)
    if account is None or account.status == Status.DELETED:
        raise NotFound
    before, email = (account.role, account.status), account.email
    if body.email not in (None, email):
        mails.send(session, Template.EMAIL_CHANGED, email, account_id=account.id)
        account.address(body.email)
    if body.username is not None:
        account.name(body.username)
    account.role = body.role or account.role
    account.status = body.status or account.status
    if not account.is_active_admin:
        refuse_last_admin(account, admins)
    if account.email != email or (account.role, account.status) != before:
        sessions.end_all(session, account)
        forget_links(session, account.id)
    trail.add(fields=sorted(body.model_fields_set))
    for name, old, new in zip(("role", "status"), before, (account.role, account.status), strict=True):
        if new != old:
            trail.add(**{name: {"before": old, "after": new}})
    account.touch()
    flush_names(session)
    tell_changed(session, account)
    return account


def set_password(
    session: Session, account_id: str, password_hash: str, sessions: Sessions, mails: Mails
) -> None:
    """Set a password that the owner must change, end all sessions, and notify the owner by mail."""
    account = existing(session, account_id)
    account.password_hash, account.must_change_password = password_hash, True
    sessions.end_all(session, account)
    forget_devices(session, account.id)
    forget_links(session, account.id)
    close_challenges(session, account.id)
    account.touch()
    tell_changed(session, account)
    mails.send(session, Template.PASSWORD_CHANGED, account.email, account_id=account.id)


def sign_out(session: Session, account_id: str, sessions: Sessions) -> None:
    """End all sessions of an account and revoke everything granted to apps."""
    sessions.end_all(session, existing(session, account_id))


def reset_factors(
    session: Session, account_id: str, sessions: Sessions, factors: Factors, mails: Mails
) -> None:
    """Remove the second factors of an account, end its sessions and notify the owner by mail."""
    account = existing(session, account_id)
    had_any = factors.kinds_of(session, account.id)
    factors.remove_all(session, account.id)
    close_challenges(session, account.id)
    sessions.end_all(session, account)
    if had_any:
        mails.send(
            session,
            Template.FACTOR_REMOVED,
            account.email,
            account_id=account.id,
            factor="all second factors, by an admin",
        )


def delete(session: Session, account_id: str, sessions: Sessions, factors: Factors, trail: Trail) -> None:
    """Delete an account: erase its personal data and keep its id. Only the first deletion is recorded."""
    admins = lock_admins(session)
    account = locked_account(session, account_id)
    if account is None:
        raise NotFound
    if account.status == Status.DELETED:
        trail.is_written = True
        return
    erase(session, account, admins, sessions, factors)


def erase(
    session: Session, account: Account, admins: frozenset[str], sessions: Sessions, factors: Factors
) -> None:
    """Erase the personal data of a locked account and all its credentials. The id stays reserved."""
    refuse_last_admin(account, admins)
    account.anonymise()
    sessions.end_all(session, account)
    forget_devices(session, account.id)
    forget_links(session, account.id)
    delete_keys(session, account.id)
    delete_exports(session, account.id)
    factors.remove_all(session, account.id)
    delete_identities(session, account.id)
    close_challenges(session, account.id)
    account.touch()
    tell_deleted(session, account)


def existing(session: Session, account_id: str) -> Account:
    """Read and lock an account that is not deleted."""
    account = locked_account(session, account_id)
    if account is None or account.status == Status.DELETED:
        raise NotFound
    return account
