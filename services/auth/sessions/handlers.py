"""The endpoints for sign-in, refresh and sign-out."""

from typing import Any

from sqlalchemy import Row
from sqlmodel import Session
from starlette.requests import Request

from services.auth.credentials.devices import Devices
from services.auth.errors import InvalidCode
from services.auth.factors.challenges import ChallengeCookie
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
from services.auth.sessions.login import PasswordLogin, open_proved
from services.auth.sessions.logout import sign_out
from services.auth.sessions.sessions import Refusal, Sessions, SignedIn
from services.auth.sessions.sign_in import SecondStep, begin_second_step
from services.auth.sessions.tokens import AccessTokens
from services.auth.sessions.user_agents import device_named
from shared.data.database import Database
from shared.events import Trail
from shared.identity.tokens import TokenVerifier


async def login(
    body: Login, request: Request, by_password: PasswordLogin, trail: Trail
) -> SignedInOut | ClassicSignedInOut | MfaNeededOut:
    """Sign in with the e-mail address or the username.

    An unknown name, a wrong password and a disabled account get the same response after the same time.
    With a `username`, the response has the role in capitals, as the inventory's first web interface expects.
    """
    done = await by_password.sign_in(body, request, trail)
    return done if body.username is None or isinstance(done, MfaNeededOut) else classic_out(done)


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
    return open_proved(session, proved, device, sessions), proved.device_id


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
    token = None if body is None else body.refresh_token
    await sign_out(token, request, database, sessions, verifier, trail)
