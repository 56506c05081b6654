"""The endpoints for sign-in, refresh and sign-out."""

from typing import Any

from sqlalchemy import Row
from sqlmodel import Session
from starlette.requests import Request

from services.auth.credentials.devices import Devices
from services.auth.errors import InvalidCode
from services.auth.factors.challenges import CHALLENGE_SECONDS, ChallengeCookie
from services.auth.schemas import (
    ClassicSignedInOut,
    Login,
    Logout,
    MfaNeededOut,
    Refresh,
    SignedInOut,
    VerifyMfa,
)
from services.auth.sessions.answers import classic_out, signed_in_out
from services.auth.sessions.sessions import Refusal, Sessions, SignedIn
from services.auth.sessions.sign_in import (
    Candidate,
    FactorNeeded,
    PasswordCheck,
    Proved,
    SecondStep,
    begin_second_step,
)
from services.auth.sessions.tokens import AccessTokens
from services.auth.sessions.user_agents import device_named
from shared.data.database import Database
from shared.errors import Unauthenticated
from shared.events import Trail
from shared.identity.tokens import RevokedToken, TokenVerifier, bearer_token


async def login(
    body: Login,
    request: Request,
    database: Database,
    check: PasswordCheck,
    second: SecondStep,
    sessions: Sessions,
    devices: Devices,
    tokens: AccessTokens,
    cookie: ChallengeCookie,
    trail: Trail,
) -> SignedInOut | ClassicSignedInOut | MfaNeededOut:
    """Sign in with the e-mail address or the username.

    An unknown name, a wrong password and a disabled account get the same response after the same time.
    With a `username`, the response has the role in capitals, as the inventory's first web interface expects.
    """
    candidate = await check.candidate(body.name, body.password, request, trail, body.new_password)
    device = device_named(request.headers.get("user-agent"))
    outcome = await database.run(_finish_login, candidate, device, second, sessions, trail)
    if isinstance(outcome, FactorNeeded):
        needed = MfaNeededOut(
            mfa_token=outcome.mfa_token, methods=outcome.methods, expires_in=CHALLENGE_SECONDS
        )
        return needed.with_header("set-cookie", cookie.holding(outcome.mfa_token))
    signed_in, device_id = outcome
    done = signed_in_out(signed_in, tokens).with_header("set-cookie", devices.cookie(device_id))
    return done if body.username is None else classic_out(done)


def _finish_login(
    session: Session,
    candidate: Candidate,
    device: str | None,
    second: SecondStep,
    sessions: Sessions,
    trail: Trail,
) -> tuple[SignedIn, str] | FactorNeeded:
    proved = second.after_password(session, candidate)
    trail.add(second_factor="needed" if isinstance(proved, FactorNeeded) else "none")
    if isinstance(proved, Proved):
        trail.add(**proved.details)
    trail.write(session)
    if isinstance(proved, FactorNeeded):
        return proved
    return _opened(session, proved, device, sessions), proved.device_id


def _opened(session: Session, proved: Proved, device: str | None, sessions: Sessions) -> SignedIn:
    return sessions.open(session, proved.account, amr=proved.amr, device=device)


async def verify_mfa(
    body: VerifyMfa,
    request: Request,
    database: Database,
    second: SecondStep,
    sessions: Sessions,
    devices: Devices,
    tokens: AccessTokens,
    cookie: ChallengeCookie,
    trail: Trail,
) -> SignedInOut | ClassicSignedInOut:
    """Finish signing in with a code from the authenticator app, or a recovery code.

    An mfa_token allows five attempts. Each code is accepted once. With a `username`, the response has the
    role in capitals, as after signing in with one.
    """
    token = body.mfa_token or cookie.of(request)
    challenge = await database.run(begin_second_step, token, body.username)
    trail.user_id = trail.resource = challenge.account_id
    device = device_named(request.headers.get("user-agent"))
    outcome = await database.run(_finish_mfa, challenge, body.typed, device, second, sessions, trail)
    if outcome is None:
        raise InvalidCode
    signed_in, device_id = outcome
    done = signed_in_out(signed_in, tokens).with_header("set-cookie", devices.cookie(device_id))
    done = done.with_header("set-cookie", cookie.gone())
    return done if body.username is None else classic_out(done)


def _finish_mfa(
    session: Session,
    challenge: Row[Any],
    code: str,
    device: str | None,
    second: SecondStep,
    sessions: Sessions,
    trail: Trail,
) -> tuple[SignedIn, str] | None:
    proved = second.after_factor(session, challenge, code)
    if proved is None:
        return None
    trail.add(amr=proved.amr, **proved.details)
    trail.write(session)
    return _opened(session, proved, device, sessions), proved.device_id


async def refresh(
    body: Refresh, database: Database, sessions: Sessions, tokens: AccessTokens, trail: Trail
) -> SignedInOut:
    """Exchange a refresh token for a new pair of tokens.

    Every refresh token can be exchanged once. Repeating the request within a few seconds returns the same
    tokens. Later use ends the session, because two parties then hold the token.
    """
    outcome = await database.run(_refresh, body.refresh_token, sessions, trail)
    if not isinstance(outcome, SignedIn):
        raise outcome
    return signed_in_out(outcome, tokens)


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
    # The refresh token comes first, because the bearer token may have expired.
    if body is not None and body.refresh_token is not None:
        await database.run(_end_by_token, body.refresh_token, sessions, trail)
        return
    token = bearer_token(request.headers.get("authorization"))
    if token is None:
        raise Unauthenticated
    try:
        caller = await verifier.verify(token)
    except RevokedToken:
        return  # already signed out
    trail.caller, trail.user_id = caller, caller.id
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
