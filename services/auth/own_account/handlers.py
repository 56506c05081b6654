"""The endpoints for the caller's own account."""

from sqlmodel import Session
from starlette.requests import Request

from services.auth.accounts.accounts import locked_account
from services.auth.credentials.devices import Devices, forget_devices
from services.auth.credentials.password_attempts import attempt_of
from services.auth.credentials.passwords import Passwords
from services.auth.credentials.policy import PasswordPolicy
from services.auth.errors import WrongPassword
from services.auth.factors.challenges import close_challenges
from services.auth.mails.links import forget_links
from services.auth.mails.mails import Mails
from services.auth.mails.texts import Template
from services.auth.schemas import AccountOut, ChangePassword
from services.auth.sessions.sessions import Sessions
from shared.caller import Caller
from shared.data.database import Database
from shared.events import Trail


def show_me(caller: Caller, sessions: Sessions, session: Session) -> AccountOut:
    """Show your account."""
    return AccountOut.model_validate(sessions.account_of(session, caller))


async def change_password(
    body: ChangePassword,
    request: Request,
    caller: Caller,
    database: Database,
    passwords: Passwords,
    policy: PasswordPolicy,
    sessions: Sessions,
    devices: Devices,
    mails: Mails,
    trail: Trail,
) -> None:
    """Change your password. Ends all your other sessions and forgets your other devices."""
    before = await database.run(_begin_change, caller, sessions, policy, body.new_password)
    if not await passwords.matches(body.current_password, before):
        raise WrongPassword
    after = await passwords.hash(body.new_password)
    this_device = devices.device_of(request)
    await database.run(_finish_change, caller, before, after, this_device, sessions, mails, trail)


def _begin_change(
    session: Session, caller: Caller, sessions: Sessions, policy: PasswordPolicy, new_password: str
) -> str | None:
    account = sessions.account_of(session, caller)
    policy.require(new_password, "new_password", account.email, account.username)
    attempt_of(caller).count(session)
    return account.password_hash


def _finish_change(
    session: Session,
    caller: Caller,
    before: str | None,
    after: str,
    this_device: str | None,
    sessions: Sessions,
    mails: Mails,
    trail: Trail,
) -> None:
    account = locked_account(session, caller.id)
    if account is None or account.password_hash != before or not account.may_sign_in:
        raise WrongPassword  # the password was changed while this request was being checked
    account.password_hash = after
    sessions.end_others(session, account.id, caller.session_id)
    forget_devices(session, account.id, but=this_device)
    close_challenges(session, account.id)
    forget_links(session, account.id)
    mails.send(session, Template.PASSWORD_CHANGED, account.email, account_id=account.id)
    attempt_of(caller).succeeded(session)
    trail.write(session)
