"""Signing out on behalf of a client (OpenID Connect RP-Initiated Logout 1.0)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from services.auth.oauth.errors import OAuthError, PageError
from services.auth.oauth.parameters import Parameters
from services.auth.oauth.storage import Storage
from services.auth.sessions.browser import SignedInBrowser

STATE_CHARACTERS_MAX = 2000


@dataclass(frozen=True, slots=True)
class SignOut:
    """Which session to end, whether to ask first, and where to redirect (None: to auth's own page)."""

    session_id: str | None
    is_asked: bool
    ends_here: bool
    url: str | None
    app: str | None


def decide(
    storage: Storage,
    given: Parameters,
    hint: Mapping[str, Any] | None,
    browser: SignedInBrowser | None,
    *,
    confirmed: bool,
) -> SignOut:
    """Decide whose session ends. `hint` contains the claims of the request's ID token, if issued here.

    Without such a token anyone could have made the request, so the person is asked.
    """
    try:
        client_id, state = given.get("client_id"), given.get("state", STATE_CHARACTERS_MAX)
        has_hint, back = given.get("id_token_hint") is not None, given.get("post_logout_redirect_uri")
    except OAuthError as error:
        raise PageError(error.description) from error
    if has_hint and hint is None:
        raise PageError("The app sent an ID token that was not issued here.")
    if hint is not None and client_id not in (None, hint["aud"]):
        raise PageError("The app sent the ID token of another app.")
    client = storage.client(hint["aud"] if hint is not None else client_id or "")
    if back is not None and (client is None or back not in client.post_logout_redirect_uris.split("\n")):
        raise PageError("The app asked to redirect you to a URL that it has not registered for signing out.")
    ends, here = _session_of(hint, browser), None if browser is None else browser.session_id
    return SignOut(
        session_id=here if ends is None else ends,
        is_asked=not confirmed and here is not None and ends is None,
        ends_here=here is None or ends in (None, here),
        url=None if back is None else _with_state(back, state),
        app=None if client is None else client.name,
    )


def _session_of(hint: Mapping[str, Any] | None, browser: SignedInBrowser | None) -> str | None:
    """Return the session of the ID token, or else the browser's session if it is the same person's."""
    if hint is None:
        return None
    sid = hint.get("sid")
    if isinstance(sid, str):
        return sid
    return browser.session_id if browser is not None and browser.account.id == hint["sub"] else None


def _with_state(url: str, state: str | None) -> str:
    return url if state is None else f"{url}{'&' if '?' in url else '?'}{urlencode({'state': state})}"
