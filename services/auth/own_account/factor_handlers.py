"""The endpoints for the caller's authenticator app."""

from io import BytesIO

import segno
from sqlmodel import Session

from services.auth.accounts.accounts import locked_account
from services.auth.credentials.password_attempts import attempt_of
from services.auth.credentials.passwords import Passwords
from services.auth.errors import InvalidCode, NoFactor, WrongPassword
from services.auth.factors.factors import Factors
from services.auth.factors.totp import address_of
from services.auth.mails.mails import Mails
from services.auth.mails.texts import Template
from services.auth.models import Account
from services.auth.schemas import ConfirmFactor, CurrentPassword, FactorOut, RecoveryCodesOut
from services.auth.sessions.sessions import Sessions
from services.auth.sessions.sign_in import factor_attempt
from shared.caller import Caller
from shared.data.database import Database
from shared.events import Trail


async def enrol_totp(
    body: CurrentPassword,
    caller: Caller,
    database: Database,
    passwords: Passwords,
    sessions: Sessions,
    factors: Factors,
    trail: Trail,
) -> FactorOut:
    """Start enrolling an authenticator app. It takes effect once a code has confirmed it."""
    before = await _require_password(body.current_password, caller, database, passwords, sessions)
    return await database.run(_enrol, caller, before, factors, trail)


def _enrol(session: Session, caller: Caller, before: str | None, factors: Factors, trail: Trail) -> FactorOut:
    account = _unchanged(session, caller, before)
    enrolled = factors.enrol_totp(session, account.id)
    trail.resource = enrolled.factor_id
    trail.write(session)
    address = address_of(enrolled.secret, account.email or account.username or account.id)
    return FactorOut(secret=enrolled.secret, uri=address, qr_svg=_picture(address))


def _picture(address: str) -> str:
    drawn = BytesIO()
    segno.make(address, error="m").save(drawn, kind="svg", scale=4, xmldecl=False, svgns=True)
    return drawn.getvalue().decode().strip()


async def confirm_totp(
    body: ConfirmFactor,
    caller: Caller,
    database: Database,
    sessions: Sessions,
    factors: Factors,
    mails: Mails,
    trail: Trail,
) -> RecoveryCodesOut:
    """Confirm the authenticator app with a code; sign-in then requires one. Returns recovery codes."""
    await database.run(_count_try, caller, sessions)
    codes = await database.run(_confirm, caller, body.code, factors, mails, trail)
    if codes is None:
        raise InvalidCode
    return RecoveryCodesOut(recovery_codes=codes)


def _count_try(session: Session, caller: Caller, sessions: Sessions) -> None:
    factor_attempt(sessions.account_of(session, caller).id).count(session)


def _confirm(
    session: Session, caller: Caller, code: str, factors: Factors, mails: Mails, trail: Trail
) -> list[str] | None:
    account = locked_account(session, caller.id)
    codes = None if account is None else factors.confirm_totp(session, account, code)
    if account is None or codes is None:
        return None
    _tell(session, account, mails, Template.FACTOR_ADDED)
    factor_attempt(caller.id).succeeded(session)
    trail.write(session)
    return codes


async def remove_totp(
    body: CurrentPassword,
    caller: Caller,
    database: Database,
    passwords: Passwords,
    sessions: Sessions,
    factors: Factors,
    mails: Mails,
    trail: Trail,
) -> None:
    """Remove the authenticator app. The password alone then signs in again."""
    before = await _require_password(body.current_password, caller, database, passwords, sessions)
    await database.run(_remove, caller, before, factors, mails, trail)


def _remove(
    session: Session, caller: Caller, before: str | None, factors: Factors, mails: Mails, trail: Trail
) -> None:
    account = _unchanged(session, caller, before)
    if not factors.are_needed(session, account.id):
        raise NoFactor
    factors.remove(session, account.id)
    _tell(session, account, mails, Template.FACTOR_REMOVED)
    trail.write(session)


def _tell(session: Session, account: Account, mails: Mails, template: Template) -> None:
    mails.send(session, template, account.email, account_id=account.id, factor="authenticator app")


async def _require_password(
    password: str, caller: Caller, database: Database, passwords: Passwords, sessions: Sessions
) -> str | None:
    before = await database.run(_begin, caller, sessions)
    if not await passwords.matches(password, before):
        raise WrongPassword
    return before


def _begin(session: Session, caller: Caller, sessions: Sessions) -> str | None:
    account = sessions.account_of(session, caller)
    attempt_of(caller).count(session)
    return account.password_hash


def _unchanged(session: Session, caller: Caller, before: str | None) -> Account:
    """Return the account, unless its password was changed while this request was being checked."""
    account = locked_account(session, caller.id)
    if account is None or account.password_hash != before or not account.may_sign_in:
        raise WrongPassword
    attempt_of(caller).succeeded(session)
    return account
