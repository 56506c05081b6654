"""The pages for device codes, and for signing out on behalf of an app."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from services.auth.credentials.throttle import Attempt
from services.auth.errors import LoginThrottled, NoIssuer
from services.auth.oauth.device import PAGE, Waiting
from services.auth.oauth.errors import OAuthError, PageError
from services.auth.oauth.logout import SignOut, decide
from services.auth.oauth.parameters import Parameters
from services.auth.oauth.server import OAuthServer
from services.auth.pages.forms import FORM_BYTES_MAX, own_form, query_of, see_other
from services.auth.pages.people import person_of, scopes_of
from services.auth.pages.render import Pages
from services.auth.pages.same_origin import require_same_origin
from services.auth.sessions.browser import BrowserSessions, SignedInBrowser
from services.auth.settings import Settings
from shared.data.database import Database
from shared.events import Trail
from shared.http.inputs import read_body

SIGN_IN = "/auth/signin"
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


async def show_device(
    request: Request, database: Database, server: OAuthServer, browsers: BrowserSessions, pages: Pages
) -> Response:
    """Show the form for a device code."""
    if not server.issuer.url:
        raise NoIssuer
    code = query_of(request).get("user_code", "")[:USER_CODE_CHARACTERS_MAX]
    browser = await database.run(browsers.find, request.cookies.get(browsers.cookie_name))
    return _sign_in_first(code) if browser is None else pages.show("device", code=code, fault=None)


async def answer_device(
    request: Request,
    settings: Settings,
    database: Database,
    server: OAuthServer,
    browsers: BrowserSessions,
    pages: Pages,
    trail: Trail,
) -> Response:
    """Look up a device by its code, and allow or deny it."""
    if not server.issuer.url:
        raise NoIssuer
    form = await own_form(request, settings)
    code, answer = form.get("user_code", "")[:USER_CODE_CHARACTERS_MAX], form.get("answer")
    cookie = request.cookies.get(browsers.cookie_name)
    try:
        found = await database.run(_look_up, code, answer, cookie, server, browsers, trail)
    except LoginThrottled as error:
        await trail.keep(refused_with=error.status)
        page = pages.show("device", error.status, code=code, fault=error.detail)
        page.headers["Retry-After"] = error.headers["Retry-After"]
        return page
    if found.browser is None:
        return _sign_in_first(code)
    if found.waiting is None:
        await trail.keep(refused_with=400)
        return pages.show("device", 400, code=code, fault=_NO_DEVICE)
    if found.is_answered:
        title, words = _ALLOWED if answer == "allow" else _DENIED
        return pages.say(title, words, SIGN_IN, "Your account", "good" if answer == "allow" else "info")
    return pages.show(
        "device_consent",
        app=found.waiting.client.name,
        person=person_of(found.browser.account),
        scopes=scopes_of(found.waiting.scopes),
        code=code,
    )


def _look_up(
    session: Session,
    code: str,
    answer: str | None,
    cookie: str | None,
    server: OAuthServer,
    browsers: BrowserSessions,
    trail: Trail,
) -> LookedUp:
    browser = browsers.find(session, cookie)
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


async def sign_out_for_app(
    request: Request,
    settings: Settings,
    database: Database,
    server: OAuthServer,
    browsers: BrowserSessions,
    pages: Pages,
    trail: Trail,
) -> Response:
    """Sign out on behalf of an app: the end session endpoint of OpenID Connect."""
    query = request.scope["query_string"].decode("latin-1")
    return await _sign_out(query, request, settings, database, server, browsers, pages, trail)


async def post_sign_out_for_app(
    request: Request,
    settings: Settings,
    database: Database,
    server: OAuthServer,
    browsers: BrowserSessions,
    pages: Pages,
    trail: Trail,
) -> Response:
    """Sign out on behalf of an app, with the parameters in a form; also the form of the page that asks."""
    query = (await read_body(request, FORM_BYTES_MAX)).decode("latin-1")
    return await _sign_out(query, request, settings, database, server, browsers, pages, trail)


async def _sign_out(
    query: str,
    request: Request,
    settings: Settings,
    database: Database,
    server: OAuthServer,
    browsers: BrowserSessions,
    pages: Pages,
    trail: Trail,
) -> Response:
    if not server.issuer.url:
        raise NoIssuer
    try:
        given = Parameters.read(query)
        is_confirmed = request.method == "POST" and given.values.get("confirm") == "yes"
        if is_confirmed:
            require_same_origin(request, settings)
        token = given.values.get("id_token_hint")
        hint = None if token is None else await server.issuer.read_id_token(token)
        asked = Asked(given, hint, request.cookies.get(browsers.cookie_name), is_confirmed)
        outcome = await database.run(_end, asked, server, browsers, trail)
    except (OAuthError, PageError) as error:
        await trail.keep(refused_with=400)
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
        response.headers.append("set-cookie", browsers.forget())
    return response


@dataclass(frozen=True, slots=True)
class Asked:
    """A sign-out request and the browser's cookie."""

    given: Parameters
    hint: dict[str, Any] | None
    cookie: str | None
    is_confirmed: bool


def _end(
    session: Session, asked: Asked, server: OAuthServer, browsers: BrowserSessions, trail: Trail
) -> SignOut:
    browser = browsers.find(session, asked.cookie)
    storage = server.storage(session)
    outcome = decide(storage, asked.given, asked.hint, browser, confirmed=asked.is_confirmed)
    trail.is_written = True
    if not outcome.is_asked and outcome.session_id is not None:
        trail.user_id = trail.resource = browsers.end_session(session, outcome.session_id)
        trail.write(session)
    return outcome
