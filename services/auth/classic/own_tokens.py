"""What a signed-in person may do with OAuth without a browser: authorize apps, manage their own tokens."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from sqlmodel import Session

from services.auth.classic.schemas import OldAuthorize, OldTokenState
from services.auth.errors import ConsentNeeded, TokenRefused, UnknownToken
from services.auth.models import LoginSession
from services.auth.oauth.authorization import FORM_POST, AskForConsent, Redirect
from services.auth.oauth.errors import PageError
from services.auth.oauth.moments import seconds_of
from services.auth.oauth.server import OAuthServer
from services.auth.sessions.browser import SignedInBrowser
from shared.caller import Caller
from shared.errors import InvalidToken, SignInAgain
from shared.identity.unverified import read_unverified


def authorize(session: Session, server: OAuthServer, caller: Caller, asked: OldAuthorize) -> str:
    """Return a code for the app, by the rules of the pages.

    What the person has not allowed the app on the consent page is refused: nobody has seen a page here.
    """
    account = server.sessions.account_in(session, caller.id, caller.session_id)
    opened = session.get(LoginSession, caller.session_id)
    assert opened is not None  # the session was just found alive
    signed_in = SignedInBrowser(opened.id, account, opened.authenticated or opened.created, opened.amr)
    query = urlencode({**asked.model_dump(exclude_none=True), "response_mode": FORM_POST})
    try:
        outcome = server.authorization.decide(server.storage(session), query, signed_in)
    except PageError as error:
        raise TokenRefused(detail=str(error)) from error
    if isinstance(outcome, AskForConsent):
        raise ConsentNeeded
    if not isinstance(outcome, Redirect) or outcome.fields is None:
        raise SignInAgain
    if outcome.error is not None:
        raise TokenRefused(outcome.error, outcome.fields["error_description"])
    return outcome.fields["code"]


@dataclass(frozen=True, slots=True)
class Shown:
    """A token that a person has sent; with a caller if it is a valid access token."""

    text: str
    caller: Caller | None

    @classmethod
    async def read(cls, text: str, server: OAuthServer) -> "Shown":
        return cls(text, await server.caller_of(text))


def revoke(session: Session, server: OAuthServer, owner: Caller, shown: Shown) -> str:
    """Revoke a token of this person, a refresh token with its whole session; return what was revoked."""
    if shown.caller is not None:
        if shown.caller.id != owner.id or shown.caller.token_id is None:
            raise UnknownToken
        server.storage(session).revoke_access(shown.caller.token_id)
        return shown.caller.token_id
    found = server.sessions.of_account(session, shown.text, owner.id)
    if found is None:
        raise UnknownToken
    server.sessions.end(session, found[0].id)
    return str(found[0].id)


def state_of(session: Session, server: OAuthServer, owner: Caller, shown: Shown) -> OldTokenState:
    if shown.caller is not None:
        return _state_of_access_token(session, server, owner, shown)
    found = server.sessions.of_account(session, shown.text, owner.id)
    if found is None or not found[1]:
        return OldTokenState(active=False)
    row = found[0]
    return OldTokenState(
        active=True,
        scope=row.scope,
        client_id=row.client_id,
        user_id=row.account_id,
        token_type="refresh_token",  # noqa: S106 - a token type, not a secret
        exp=seconds_of(row.expires),
        iat=seconds_of(row.created),
    )


def _state_of_access_token(
    session: Session, server: OAuthServer, owner: Caller, shown: Shown
) -> OldTokenState:
    caller, read = shown.caller, read_unverified(shown.text)
    if caller is None or read is None or caller.id != owner.id:
        return OldTokenState(active=False)
    try:
        server.sessions.account_of(session, caller)
    except InvalidToken:
        return OldTokenState(active=False)
    claims: dict[str, Any] = read.claims
    return OldTokenState(
        active=True,
        scope=claims.get("scope"),
        client_id=caller.client_id,
        user_id=caller.id,
        token_type="Bearer",  # noqa: S106 - a token type, not a secret
        exp=claims.get("exp"),
        iat=claims.get("iat"),
    )
