"""Handlers of accounts for the first web interface of the inventory."""

from sqlmodel import Session

from services.auth.administration import accounts, classic
from services.auth.administration.classic import (
    AddUser,
    ChangeUser,
    ClassicAdded,
    ClassicDone,
    ClassicUsers,
)
from services.auth.credentials.passwords import Passwords
from services.auth.credentials.policy import PasswordPolicy
from services.auth.factors.factors import Factors
from services.auth.mails.mails import Mails
from services.auth.models import Role
from services.auth.schemas import ChangeAccount
from services.auth.sessions.sessions import Sessions
from shared.caller import Caller
from shared.data.database import Database
from shared.errors import BadRequest
from shared.events import Trail
from shared.http.schemas import Id


def classic_users(session: Session) -> ClassicUsers:
    """List the newest 500 accounts that are not deleted."""
    return ClassicUsers(users=classic.users(session))


async def classic_add_user(
    body: AddUser, database: Database, passwords: Passwords, policy: PasswordPolicy, trail: Trail
) -> ClassicAdded:
    """Create an account with a password and a role."""
    account = await accounts.create(body, Role(body.role.lower()), database, passwords, policy, trail)
    return ClassicAdded(message="The user was added.", user_id=account.id)


async def classic_change_user(
    account_id: Id,
    body: ChangeUser,
    database: Database,
    passwords: Passwords,
    policy: PasswordPolicy,
    sessions: Sessions,
    mails: Mails,
    trail: Trail,
) -> ClassicDone:
    """Change the names, role or password of an account. A new role or password ends its sessions."""
    changes = body.changes
    password_hash = None
    if body.password:
        account = await database.read(accounts.existing, account_id)
        names = changes.get("email", account.email), changes.get("username", account.username)
        policy.require(body.password, "password", *names)
        password_hash = await passwords.hash(body.password)

    def work(session: Session) -> None:
        if changes:
            accounts.change(session, account_id, ChangeAccount(**changes), sessions, mails, trail)
        if password_hash is not None:
            accounts.set_password(session, account_id, password_hash, sessions, mails)
            trail.add(password="changed")  # noqa: S106 - that it was, not what it is
        trail.write(session)

    await database.run(work)
    return ClassicDone(message="The user was changed.")


def classic_delete_user(
    account_id: Id, caller: Caller, sessions: Sessions, session: Session, factors: Factors, trail: Trail
) -> ClassicDone:
    """Delete the account of somebody else."""
    if account_id == caller.id:
        raise BadRequest("You cannot delete your own account.")
    accounts.delete(session, account_id, sessions, factors, trail)
    return ClassicDone(message="The user was deleted.")
