"""The pages for device codes, and for signing out on behalf of an app."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from sqlmodel import Session
from starlette.responses import Response

from services.auth.credentials.throttle import Attempt
from services.auth.errors import LoginThrottled, NoIssuer
from services.auth.oauth.device import PAGE, Waiting
from services.auth.oauth.errors import OAuthError, PageError
from services.auth.oauth.logout import SignOut, decide
from services.auth.oauth.parameters import Parameters
from services.auth.oauth.server import OAuthServer
from services.auth.pages.forms import FORM_BYTES_MAX, see_other
from services.auth.pages.people import person_of, scopes_of
from services.auth.pages.same_origin import require_same_origin
from services.auth.pages.visit import SIGN_IN, Visit, page
from services.auth.sessions.browser import SignedInBrowser
from shared.http.inputs import read_body

USER_CODE_CHARACTERS_MAX = 20
_NO_DEVICE = "No device shows this code, or the code is older than ten minutes. Check it and try again."
_DENIED = ("Denied", "The device gets no access. You can close this page.")
_ALLOWED = ("Your device is signed in", "Continue on your device. You can close this page.")


@dataclass(frozen=True, slots=True)
class LookedUp:
    """The signed-in browser, and the device that a code belongs to."""

    browser: SignedInBrowser | None
    waiting: Waiting | None = None
    is_answered: bool = False


@page
async def show_device(visit: Visit, server: OAuthServer) -> Response:
    """Show the form for a device code."""
    if not server.issuer.url:
        raise NoIssuer
    code = visit.query.get("user_code", "")[:USER_CODE_CHARACTERS_MAX]
    browser = await visit.browser()
    return _sign_in_first(code) if browser is None else visit.show("device", code=code, fault=None)


@page
async def answer_device(visit: Visit, server: OAuthServer) -> Response:
    """Look up a device by its code, and allow or deny it."""
    if not server.issuer.url:
        raise NoIssuer
    form = await visit.form()
    code, answer = form.get("user_code", "")[:USER_CODE_CHARACTERS_MAX], form.get("answer")
    try:
        found = await visit.run(_look_up, visit, server, code, answer)
    except LoginThrottled as error:
        return await visit.again("device", error, code=code)
    if found.browser is None:
        return _sign_in_first(code)
    if found.waiting is None:
        await visit.trail.keep(refused_with=400)
        return visit.show("device", 400, code=code, fault=_NO_DEVICE)
    if found.is_answered:
        title, words = _ALLOWED if answer == "allow" else _DENIED
        kind = "good" if answer == "allow" else "info"
        return visit.site.pages.say(title, words, SIGN_IN, "Your account", kind)
    return visit.show(
        "device_consent",
        app=found.waiting.client.name,
        person=person_of(found.browser.account),
        scopes=scopes_of(found.waiting.scopes),
        code=code,
    )


def _look_up(session: Session, visit: Visit, server: OAuthServer, code: str, answer: str | None) -> LookedUp:
    browser, trail = visit.site.browsers.find(session, visit.cookie), visit.trail
    trail.is_written = True  # nothing to record yet
    if browser is None:
        return LookedUp(None)
    trail.user_id = browser.account.id
    storage, attempt = server.storage(session), Attempt(f"device codes of {browser.account.id}")
    attempt.count(session)
    waiting = storage.devices.waiting(code)
    if waiting is None:
        return LookedUp(browser)
    attempt.succeeded(session)
    if answer not in ("allow", "deny"):
        return LookedUp(browser, waiting)
    if not storage.devices.answer(waiting, browser, allowed=answer == "allow"):
        return LookedUp(browser)
    if answer == "allow":
        storage.keep_consent(browser.account.id, waiting.client, waiting.scopes)
    trail.resource = waiting.client.id
    trail.add(outcome=answer)
    trail.write(session)
    return LookedUp(browser, waiting, is_answered=True)


def _sign_in_first(code: str) -> Response:
    after = f"{PAGE}?{urlencode({'user_code': code})}" if code else PAGE
    return see_other(f"{SIGN_IN}?{urlencode({'next': after})}")


@page
async def sign_out_for_app(visit: Visit, server: OAuthServer) -> Response:
    """Sign out on behalf of an app: the end session endpoint of OpenID Connect."""
    return await _sign_out(visit, server, visit.request.scope["query_string"].decode("latin-1"))


@page
async def post_sign_out_for_app(visit: Visit, server: OAuthServer) -> Response:
    """Sign out on behalf of an app, with the parameters in a form. The page that asks sends its form here."""
    return await _sign_out(visit, server, (await read_body(visit.request, FORM_BYTES_MAX)).decode("latin-1"))


async def _sign_out(visit: Visit, server: OAuthServer, query: str) -> Response:
    pages = visit.site.pages
    if not server.issuer.url:
        raise NoIssuer
    try:
        given = Parameters.read(query)
        is_confirmed = visit.request.method == "POST" and given.values.get("confirm") == "yes"
        if is_confirmed:
            require_same_origin(visit.request, visit.site.settings)
        token = given.values.get("id_token_hint")
        hint = None if token is None else await server.issuer.read_id_token(token)
        asked = Asked(given, hint, is_confirmed)
        outcome = await visit.run(_end, visit, server, asked)
    except (OAuthError, PageError) as error:
        await visit.trail.keep(refused_with=400)
        words = error.description if isinstance(error, OAuthError) else str(error)
        return pages.refuse("This link does not work", words)
    if outcome.is_asked:
        kept = {name: value for name, value in given.values.items() if name != "confirm"}
        return pages.show("sign_out", app=outcome.app, given=kept)
    response = (
        see_other(outcome.url)
        if outcome.url is not None
        else pages.say("You are signed out", "You can close this page.", SIGN_IN, "Sign in again", "good")
    )
    if outcome.ends_here:
        response.headers.append("set-cookie", visit.site.browsers.forget())
    return response


@dataclass(frozen=True, slots=True)
class Asked:
    """A sign-out request."""

    given: Parameters
    hint: dict[str, Any] | None
    is_confirmed: bool


def _end(session: Session, visit: Visit, server: OAuthServer, asked: Asked) -> SignOut:
    browsers, trail = visit.site.browsers, visit.trail
    browser = browsers.find(session, visit.cookie)
    outcome = decide(server.storage(session), asked.given, asked.hint, browser, confirmed=asked.is_confirmed)
    trail.is_written = True
    if not outcome.is_asked and outcome.session_id is not None:
        trail.user_id = trail.resource = browsers.end_session(session, outcome.session_id)
        trail.write(session)
    return outcome
