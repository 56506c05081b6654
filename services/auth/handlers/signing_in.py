"""Registering, signing in, carrying on and signing out."""

from dataclasses import dataclass

from sqlmodel import Session
from starlette.requests import Request

from services.auth.accounts import account_named, add_account, locked_account
from services.auth.bootstrap import is_known_to_everybody
from services.auth.errors import InvalidCredentials
from services.auth.models import Account
from services.auth.passwords import Passwords
from services.auth.schemas import AccountOut, Login, Logout, Refresh, Register, SignedInOut
from services.auth.sessions import Refusal, Sessions, SignedIn
from services.auth.settings import Settings
from services.auth.throttle import count_attempt, forget_attempts
from services.auth.tokens import AccessTokens
from shared.database import Database
from shared.errors import Unauthenticated
from shared.events import Trail
from shared.identity import RevokedToken, TokenVerifier, bearer_token


async def register(
    body: Register,
    database: Database,
    passwords: Passwords,
    sessions: Sessions,
    tokens: AccessTokens,
    trail: Trail,
) -> SignedInOut:
    """Make an account and sign in to it."""
    account = new_account(body, await passwords.hash(body.password))
    return _answer(await database.run(_add_and_open, account, sessions, trail), tokens)


def new_account(body: Register, password_hash: str) -> Account:
    account = Account(
        email=body.email,
        first_name=body.first_name,
        last_name=body.last_name,
        password_hash=password_hash,
    )
    account.name(body.username)
    return account


def _add_and_open(session: Session, account: Account, sessions: Sessions, trail: Trail) -> SignedIn:
    signed_in = sessions.open(session, add_account(session, account))
    trail.resource = trail.user_id = account.id
    trail.write(session)
    return signed_in


@dataclass(frozen=True, slots=True)
class Candidate:
    """The account that a name belongs to, as it was before the password was checked."""

    account_id: str
    password_hash: str | None
    may_sign_in: bool
    is_admin: bool


async def login(
    body: Login,
    request: Request,
    settings: Settings,
    database: Database,
    passwords: Passwords,
    sessions: Sessions,
    tokens: AccessTokens,
    trail: Trail,
) -> SignedInOut:
    """Sign in with the e-mail address or the username.

    An unknown name, a wrong password and a disabled account get the same answer after the same work.
    """
    candidate = await database.run(_begin_login, body.name)
    trail.user_id = trail.resource = candidate.account_id if candidate else None
    password_hash = candidate.password_hash if candidate else None
    is_right = await passwords.matches(body.password, password_hash)
    if candidate is None or password_hash is None or not is_right or not candidate.may_sign_in:
        raise InvalidCredentials
    if candidate.is_admin and is_known_to_everybody(body.password, request, settings):
        raise InvalidCredentials
    new_hash = await passwords.hash(body.password) if passwords.is_outdated(password_hash) else None
    signed_in = await database.run(_finish_login, body.name, candidate, new_hash, sessions, trail)
    return _answer(signed_in, tokens)


def _begin_login(session: Session, name: str) -> Candidate | None:
    count_attempt(session, f"login {name}")
    account = account_named(session, name)
    if account is None:
        return None
    return Candidate(account.id, account.password_hash, account.may_sign_in, account.is_active_admin)


def _finish_login(
    session: Session,
    name: str,
    candidate: Candidate,
    new_hash: str | None,
    sessions: Sessions,
    trail: Trail,
) -> SignedIn:
    """Open the session, unless the account was changed while its password was being checked."""
    account = locked_account(session, candidate.account_id)
    if account is None or not account.may_sign_in or account.password_hash != candidate.password_hash:
        raise InvalidCredentials
    account.password_hash = new_hash or account.password_hash
    forget_attempts(session, f"login {name}")
    trail.write(session)
    return sessions.open(session, account)


async def refresh(
    body: Refresh, database: Database, sessions: Sessions, tokens: AccessTokens, trail: Trail
) -> SignedInOut:
    """Exchange a refresh token for a new pair of tokens.

    Every refresh token is exchanged once. Asking again within a few seconds gives the same answer; later,
    it ends the session, because two parties hold the token.
    """
    outcome = await database.run(_refresh, body.refresh_token, sessions, trail)
    if not isinstance(outcome, SignedIn):
        raise outcome
    return _answer(outcome, tokens)


def _refresh(session: Session, token: str, sessions: Sessions, trail: Trail) -> SignedIn | Refusal:
    outcome = sessions.refresh(session, token)
    if isinstance(outcome, SignedIn):
        trail.user_id = outcome.account.id
        trail.resource = outcome.session_id
        trail.write(session)
    return outcome


async def logout(
    body: Logout | None,
    request: Request,
    database: Database,
    sessions: Sessions,
    verifier: TokenVerifier,
    trail: Trail,
) -> None:
    """Sign out: end the session of the refresh token, or else of the bearer token."""
    # The refresh token comes first: whoever signs out after a while holds a bearer token that has expired.
    if body is not None and body.refresh_token is not None:
        await database.run(_end_by_token, body.refresh_token, sessions, trail)
        return
    token = bearer_token(request.headers.get("authorization"))
    if token is None:
        raise Unauthenticated
    try:
        caller = await verifier.verify(token)
    except RevokedToken:
        return  # it was signed out before
    trail.user_id = caller.id
    if caller.session_id is not None:
        await database.run(_end, caller.session_id, sessions, trail)


def _end_by_token(session: Session, token: str, sessions: Sessions, trail: Trail) -> None:
    ended = sessions.end_by_token(session, token)
    if ended is not None:
        trail.resource, trail.user_id = ended
        trail.write(session)


def _end(session: Session, session_id: str, sessions: Sessions, trail: Trail) -> None:
    sessions.end(session, session_id)
    trail.resource = session_id
    trail.write(session)


def _answer(signed_in: SignedIn, tokens: AccessTokens) -> SignedInOut:
    return SignedInOut(
        user=AccountOut.model_validate(signed_in.account),
        token=tokens.issue(signed_in.account, signed_in.session_id),
        expires_in=tokens.lifetime_seconds,
        refresh_token=signed_in.refresh_token,
    )
