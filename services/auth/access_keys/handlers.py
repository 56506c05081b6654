"""The caller's personal access tokens, and the exchange of credentials for the gateway."""

from sqlmodel import Session

from services.auth.access_keys.access_keys import PREFIX, key_shown, keys_of, make_key, revoke_key
from services.auth.access_keys.schemas import (
    AccessKeyOut,
    CreateAccessKey,
    ExchangeCredential,
    ExchangedOut,
    NewAccessKeyOut,
)
from services.auth.factors.factors import Factors
from services.auth.revocations.log import RevocationLog
from services.auth.sessions.browser import BrowserSessions
from services.auth.sessions.sessions import Sessions
from services.auth.sessions.tokens import AccessTokens
from shared.caller import Caller
from shared.clock import now
from shared.errors import NotFound
from shared.events import Trail
from shared.http.schemas import Id, Page
from shared.lists.pagination import PageQuery


def create_access_key(
    body: CreateAccessKey, caller: Caller, sessions: Sessions, session: Session, trail: Trail
) -> NewAccessKeyOut:
    """Create a personal access token for a program that acts for you. It is shown only in this response."""
    owner = sessions.locked_account_in(session, caller.id, caller.session_id)
    return make_key(session, owner.id, body, max(1, caller.acr), trail)


def list_access_keys(
    query: PageQuery, caller: Caller, sessions: Sessions, session: Session
) -> Page[AccessKeyOut]:
    """List your personal access tokens, newest first."""
    return keys_of(session, sessions.account_of(session, caller).id, query)


def revoke_access_key(
    key_id: Id, caller: Caller, sessions: Sessions, session: Session, revocations: RevocationLog
) -> None:
    """Revoke a personal access token. It is refused within a second."""
    if not revoke_key(session, sessions.account_of(session, caller).id, key_id, revocations):
        raise NotFound


def exchange_credential(
    body: ExchangeCredential,
    session: Session,
    browsers: BrowserSessions,
    tokens: AccessTokens,
    factors: Factors,
) -> ExchangedOut:
    """Exchange a session cookie or a personal access token for an access token."""
    if not body.credential.startswith(PREFIX):
        browser = browsers.find(session, body.credential)
        if browser is None:
            raise NotFound
        token = tokens.issue(browser.account, browser.session_id, browser.authenticated, browser.amr)
        return ExchangedOut(token=token, expires_in=tokens.lifetime_seconds)
    found = key_shown(session, body.credential)
    if found is None:
        raise NotFound
    key, account = found
    rest = tokens.lifetime_seconds if key.expires is None else int((key.expires - now()).total_seconds())
    seconds = max(1, min(tokens.lifetime_seconds, rest))
    # A key created without a second factor, or whose owner has removed theirs, counts as one factor.
    shown = key.factors if factors.are_needed(session, account.id) else 1
    token = tokens.issue_for_key(account, key.id, key.scopes, seconds, factors=shown)
    return ExchangedOut(token=token, expires_in=seconds)
