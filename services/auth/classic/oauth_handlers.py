"""Handlers of OAuth in the older form: JSON, with the token of a signed-in person."""

from sqlmodel import Session

from services.auth.classic import own_tokens
from services.auth.classic.own_tokens import Shown
from services.auth.classic.schemas import (
    OldAuthorize,
    OldCodeOut,
    OldToken,
    OldTokenState,
)
from services.auth.errors import NoIssuer
from services.auth.oauth.server import OAuthServer
from services.auth.revocations.feed import RevocationFeed
from shared.caller import Caller
from shared.data.database import Database
from shared.events import Trail
from shared.http.schemas import Done


def authorize_classic(
    body: OldAuthorize, caller: Caller, server: OAuthServer, session: Session, trail: Trail
) -> OldCodeOut:
    """Get an authorization code for an app that you have allowed on the consent page, or that needs none.

    The app and its redirect URI are checked as on the page, and PKCE is required.
    """
    if not server.issuer.url:
        raise NoIssuer
    code = own_tokens.authorize(session, server, caller, body)
    trail.resource = body.client_id
    trail.add(outcome="allow")
    return OldCodeOut(code=code, state=body.state)


async def revoke_classic_token(
    body: OldToken,
    caller: Caller,
    database: Database,
    server: OAuthServer,
    feed: RevocationFeed,
    trail: Trail,
) -> Done:
    """Revoke an access token of yours, or a refresh token and the whole session that it belongs to."""
    shown = await Shown.read(body.token, server)
    await database.run(_revoke, server, caller, shown, trail)
    await feed.catch_up()  # so that this process enforces it before the response is sent
    return Done()


def _revoke(session: Session, server: OAuthServer, caller: Caller, shown: Shown, trail: Trail) -> None:
    trail.add(revoked=own_tokens.revoke(session, server, caller, shown))
    trail.write(session)


async def introspect_classic_token(
    body: OldToken, caller: Caller, database: Database, server: OAuthServer
) -> OldTokenState:
    """Show the state of a token of yours; any other token is inactive."""
    shown = await Shown.read(body.token, server)
    return await database.read(own_tokens.state_of, server, caller, shown)
