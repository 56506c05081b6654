"""Registration, sign-in, refresh and sign-out."""

from dataclasses import dataclass

from sqlmodel import Session
from starlette.requests import Request

from services.auth.accounts.accounts import account_named, add_account, locked_account, new_account
from services.auth.accounts.first_admin import is_known_to_everybody
from services.auth.credentials.devices import Devices, is_known, remember
from services.auth.credentials.passwords import Passwords
from services.auth.credentials.throttle import Attempt
from services.auth.errors import InvalidCredentials
from services.auth.models import Account
from services.auth.schemas import AccountOut, Login, Logout, Refresh, Register, SignedInOut
from services.auth.sessions.sessions import Refusal, Sessions, SignedIn
from services.auth.sessions.tokens import AccessTokens
from services.auth.settings import Settings
from shared.data.database import Database
from shared.errors import Unauthenticated
from shared.events import Trail
from shared.identity.tokens import RevokedToken, TokenVerifier, bearer_token
from shared.process.proxies import Proxies, household


async def register(
    body: Register,
    request: Request,
    database: Database,
    passwords: Passwords,
    sessions: Sessions,
    devices: Devices,
    tokens: AccessTokens,
    trail: Trail,
) -> SignedInOut:
    """Create an account and sign in to it."""
    account = new_account(body, await passwords.hash(body.password))
    shown = devices.device_of(request)
    signed_in, device_id = await database.run(_add_and_open, account, shown, sessions, trail)
    return _answer(signed_in, tokens).with_header("set-cookie", devices.cookie(device_id))


def _add_and_open(
    session: Session, account: Account, device_id: str | None, sessions: Sessions, trail: Trail
) -> tuple[SignedIn, str]:
    signed_in = sessions.open(session, add_account(session, account))
    trail.resource = trail.user_id = account.id
    trail.write(session)
    return signed_in, remember(session, account.id, device_id)


@dataclass(frozen=True, slots=True)
class Candidate:
    """The account that a name belongs to, as it was before the password was checked."""

    account_id: str
    password_hash: str | None
    may_sign_in: bool
    is_admin: bool
    device_id: str | None
    attempt: Attempt


async def login(
    body: Login,
    request: Request,
    settings: Settings,
    database: Database,
    passwords: Passwords,
    sessions: Sessions,
    devices: Devices,
    proxies: Proxies,
    tokens: AccessTokens,
    trail: Trail,
) -> SignedInOut:
    """Sign in with the e-mail address or the username.

    An unknown name, a wrong password and a disabled account get the same answer after the same work.
    """
    shown, asker = devices.device_of(request), household_of(request, proxies)
    candidate = await database.run(_begin_login, body.name, shown, asker)
    trail.user_id = trail.resource = candidate.account_id if candidate else None
    password_hash = candidate.password_hash if candidate else None
    is_right = await passwords.matches(body.password, password_hash)
    if candidate is None or password_hash is None or not is_right or not candidate.may_sign_in:
        raise InvalidCredentials
    if candidate.is_admin and is_known_to_everybody(body.password, request, settings):
        raise InvalidCredentials
    new_hash = await passwords.hash(body.password) if passwords.is_outdated(password_hash) else None
    signed_in, device_id = await database.run(_finish_login, candidate, new_hash, sessions, trail)
    return _answer(signed_in, tokens).with_header("set-cookie", devices.cookie(device_id))


def household_of(request: Request, proxies: Proxies) -> str:
    """Where a request comes from, as far as guesses are counted."""
    if request.client is None:
        return ""
    told = [value for name, value in request.headers.raw if name == b"x-forwarded-for"]
    return household(proxies.client_address(request.client.host, b",".join(told) or None))


def _begin_login(session: Session, name: str, device_id: str | None, asker: str) -> Candidate | None:
    account = account_named(session, name)
    # An unknown name takes the same path: the same queries and the same counters.
    counted_as = f"name {name}" if account is None else f"account {account.id}"
    is_device_known = device_id is not None and is_known(session, account.id if account else "", device_id)
    known_device = device_id if is_device_known else None
    attempt = Attempt.at_login(counted_as, household=asker, known_device=known_device)
    attempt.count(session)
    if account is None:
        return None
    return Candidate(
        account_id=account.id,
        password_hash=account.password_hash,
        may_sign_in=account.may_sign_in,
        is_admin=account.is_active_admin,
        device_id=device_id,
        attempt=attempt,
    )


def _finish_login(
    session: Session, candidate: Candidate, new_hash: str | None, sessions: Sessions, trail: Trail
) -> tuple[SignedIn, str]:
    """Open the session, unless the account was changed while its password was being checked."""
    account = locked_account(session, candidate.account_id)
    if account is None or not account.may_sign_in or account.password_hash != candidate.password_hash:
        raise InvalidCredentials
    account.password_hash = new_hash or account.password_hash
    candidate.attempt.succeeded(session)
    device_id = remember(session, account.id, candidate.device_id)
    trail.write(session)
    return sessions.open(session, account), device_id


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
    # The refresh token comes first: after a while the bearer token has expired.
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
