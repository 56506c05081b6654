"""Signing out: ends the session of a refresh token, or else of the bearer token."""

from sqlmodel import Session
from starlette.requests import Request

from services.auth.sessions.sessions import Sessions
from shared.data.database import Database
from shared.errors import Unauthenticated
from shared.events import Trail
from shared.identity.tokens import RevokedToken, TokenVerifier, bearer_token


async def sign_out(
    refresh_token: str | None,
    request: Request,
    database: Database,
    sessions: Sessions,
    verifier: TokenVerifier,
    trail: Trail,
) -> None:
    # The refresh token comes first, because the bearer token may have expired.
    if refresh_token is not None:
        await database.run(_end_by_token, refresh_token, sessions, trail)
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
