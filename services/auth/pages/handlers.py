"""The handlers of the sign-in and consent pages, and of the authorization endpoint."""

import re
from typing import Any
from urllib.parse import urlencode, urlsplit

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Row
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from services.auth.credentials.devices import Devices
from services.auth.errors import InvalidCredentials, InvalidMfaToken, LoginThrottled, NoIssuer
from services.auth.fields import AnyPassword, LoginName
from services.auth.models import Account
from services.auth.oauth.authorization import AskForConsent, AskToSignIn, Outcome, Redirect
from services.auth.oauth.errors import PageError
from services.auth.oauth.server import OAuthServer
from services.auth.pages.forms import FORM_BYTES_MAX, own_form, query_of, see_other
from services.auth.pages.people import person_of, scopes_of
from services.auth.pages.render import HERE, Pages
from services.auth.sessions.browser import BrowserSessions, SignedInBrowser
from services.auth.sessions.sign_in import (
    Candidate,
    PasswordCheck,
    Proved,
    SecondStep,
    begin_second_step,
)
from services.auth.settings import Settings
from shared.data.database import Database
from shared.errors import BadRequest, NotFound
from shared.events import Trail
from shared.http.inputs import read_body

AUTHORIZE, SIGN_IN = "/oauth/authorize", "/auth/signin"
QUERY_CHARACTERS_MAX = 16 * 1024
ASSETS = {"tokens.css": "text/css", "pages.css": "text/css", "icon.svg": "image/svg+xml"}
_NAME: TypeAdapter[str] = TypeAdapter(LoginName)
_PASSWORD: TypeAdapter[str] = TypeAdapter(AnyPassword)
_NEXT = re.compile(r"/oauth/(?:authorize\?[!-~]*|device(?:\?[!-~]*)?)")
_THROTTLED = "Too many attempts. Wait {seconds} seconds and try again."
_TOO_LATE = "Too much time has passed, or too many codes were wrong. Sign in again."
_WRONG_CODE = "The code is wrong or was already used. Wait for the next one."
_WRONG = "The name or the password is wrong. Check both and try again."


async def show_asset(name: str) -> Response:
    """Show a style sheet or the icon of the pages."""
    if name not in ASSETS:
        raise NotFound
    headers = {"Cache-Control": "public, max-age=300", "X-Content-Type-Options": "nosniff"}
    return Response((HERE / "assets" / name).read_bytes(), headers=headers, media_type=ASSETS[name])


async def authorize(
    request: Request,
    database: Database,
    server: OAuthServer,
    browsers: BrowserSessions,
    pages: Pages,
    trail: Trail,
) -> Response:
    """Let a person sign in to an app: the authorization endpoint of OAuth and OpenID Connect."""
    return await _authorize(
        request.scope["query_string"].decode("latin-1"),
        None,
        request,
        database,
        server,
        browsers,
        pages,
        trail,
    )


async def post_authorize(
    request: Request,
    database: Database,
    server: OAuthServer,
    browsers: BrowserSessions,
    pages: Pages,
    trail: Trail,
) -> Response:
    """Let a person sign in to an app, with the parameters in a form."""
    query = (await read_body(request, FORM_BYTES_MAX)).decode("latin-1")
    return await _authorize(query, None, request, database, server, browsers, pages, trail)


async def answer_consent(
    request: Request,
    settings: Settings,
    database: Database,
    server: OAuthServer,
    browsers: BrowserSessions,
    pages: Pages,
    trail: Trail,
) -> Response:
    """Allow or deny an app's request: the form of the consent page."""
    form = await own_form(request, settings)
    answer = form.get("answer")
    if answer not in ("allow", "deny"):
        raise BadRequest("answer must be allow or deny.")
    query = form.get("request", "")
    return await _authorize(query, answer, request, database, server, browsers, pages, trail)


async def _authorize(
    query: str,
    answer: str | None,
    request: Request,
    database: Database,
    server: OAuthServer,
    browsers: BrowserSessions,
    pages: Pages,
    trail: Trail,
) -> Response:
    if not server.issuer.url:
        raise NoIssuer
    if len(query) > QUERY_CHARACTERS_MAX:
        return pages.refuse(
            "This link is too long", "The app that sent you here used a link that is too long."
        )
    cookie = request.cookies.get(browsers.cookie_name)
    try:
        outcome, browser = await database.run(_decide, query, answer, cookie, server, browsers, trail)
    except PageError as error:
        return pages.refuse("This link does not work", str(error))
    if isinstance(outcome, Redirect):
        return see_other(outcome.url)
    if isinstance(outcome, AskToSignIn):
        hint = {"hint": outcome.hint} if outcome.hint else {}
        return see_other(f"{SIGN_IN}?{urlencode({'next': f'{AUTHORIZE}?{outcome.query}', **hint})}")
    assert browser is not None
    return _consent_page(pages, outcome, browser.account, query)


def _decide(
    session: Session,
    query: str,
    answer: str | None,
    cookie: str | None,
    server: OAuthServer,
    browsers: BrowserSessions,
    trail: Trail,
) -> tuple[Outcome, SignedInBrowser | None]:
    browser = browsers.find(session, cookie)
    outcome = server.authorization.decide(server.storage(session), query, browser, answer)
    trail.user_id = browser.account.id if browser is not None else None
    if isinstance(outcome, Redirect):
        trail.add(outcome=outcome.error or "code")
        trail.write(session)
    else:
        trail.is_written = True  # nothing to record yet
    return outcome, browser


def _consent_page(pages: Pages, asked: AskForConsent, account: Account, query: str) -> Response:
    parts = urlsplit(asked.redirect_uri)
    place = parts.netloc or f"{parts.scheme}:"
    return pages.show(
        "consent",
        app=asked.client.name,
        place=place,
        person=person_of(account),
        scopes=scopes_of(asked.scopes),
        request=query,
    )


async def show_sign_in(
    request: Request, database: Database, browsers: BrowserSessions, pages: Pages
) -> Response:
    """Show the sign-in page, or the account that is signed in."""
    given = query_of(request)
    after = _next(given.get("next"))
    if after is None:
        cookie = request.cookies.get(browsers.cookie_name)
        browser = await database.run(browsers.find, cookie)
        if browser is not None:
            return pages.show("signed_in", person=person_of(browser.account))
    return pages.show("sign_in", next=after or "", name=given.get("hint", "")[:254], fault=None)


async def sign_in(
    request: Request,
    settings: Settings,
    database: Database,
    check: PasswordCheck,
    second: SecondStep,
    browsers: BrowserSessions,
    devices: Devices,
    pages: Pages,
    trail: Trail,
) -> Response:
    """Sign in with the form of the page. Sets the session cookie."""
    form = await own_form(request, settings)
    after, typed = _next(form.get("next")) or "", form.get("name", "")[:254]
    try:
        name, password = _NAME.validate_python(typed), _PASSWORD.validate_python(form.get("password"))
        candidate = await check.candidate(name.lower(), password, request, trail)
        before = request.cookies.get(browsers.cookie_name)
        outcome = await database.run(_after_password, candidate, before, second, browsers, trail)
    except (InvalidCredentials, ValidationError):
        await trail.keep(refused_with=401)
        return pages.show("sign_in", 401, next=after, name=typed, fault=_WRONG)
    except LoginThrottled as error:
        wait = error.headers["Retry-After"]
        page = pages.show("sign_in", 429, next=after, name=typed, fault=_THROTTLED.format(seconds=wait))
        page.headers["Retry-After"] = wait
        return page
    if isinstance(outcome, str):
        return pages.show("second_factor", next=after, mfa_token=outcome, fault=None)
    return _signed_in(outcome, after, devices)


def _after_password(
    session: Session,
    candidate: Candidate,
    before: str | None,
    second: SecondStep,
    browsers: BrowserSessions,
    trail: Trail,
) -> tuple[str, str] | str:
    proved = second.after_password(session, candidate)
    trail.add(second_factor="needed" if isinstance(proved, str) else "none")
    trail.write(session)
    return proved if isinstance(proved, str) else _open(session, proved, before, browsers)


def _open(session: Session, proved: Proved, before: str | None, browsers: BrowserSessions) -> tuple[str, str]:
    """Open a session; return its Set-Cookie value and the id of the device."""
    _, cookie = browsers.open(session, proved.account, before, proved.amr)
    return cookie, proved.device_id


def _signed_in(opened: tuple[str, str], after: str, devices: Devices) -> Response:
    cookie, device_id = opened
    response = see_other(after or SIGN_IN)
    response.headers.append("set-cookie", cookie)
    response.headers.append("set-cookie", devices.cookie(device_id))
    return response


async def sign_in_with_code(
    request: Request,
    settings: Settings,
    database: Database,
    second: SecondStep,
    browsers: BrowserSessions,
    devices: Devices,
    pages: Pages,
    trail: Trail,
) -> Response:
    """Finish signing in with a code from the authenticator app, or a recovery code."""
    form = await own_form(request, settings)
    after, token = _next(form.get("next")) or "", form.get("mfa_token", "")[:100]
    before, code = request.cookies.get(browsers.cookie_name), form.get("code", "").strip()[:40]
    try:
        challenge = await database.run(begin_second_step, token)
    except InvalidMfaToken:
        await trail.keep(refused_with=401)
        return pages.show("sign_in", 401, next=after, name="", fault=_TOO_LATE)
    except LoginThrottled as error:
        wait = error.headers["Retry-After"]
        page = pages.show("sign_in", 429, next=after, name="", fault=_THROTTLED.format(seconds=wait))
        page.headers["Retry-After"] = wait
        return page
    trail.user_id = trail.resource = challenge.account_id
    opened = await database.run(_after_factor, challenge, code, before, second, browsers, trail)
    if opened is None:
        await trail.keep(refused_with=401)
        return pages.show("second_factor", 401, next=after, mfa_token=token, fault=_WRONG_CODE)
    return _signed_in(opened, after, devices)


def _after_factor(
    session: Session,
    challenge: Row[Any],
    code: str,
    before: str | None,
    second: SecondStep,
    browsers: BrowserSessions,
    trail: Trail,
) -> tuple[str, str] | None:
    proved = second.after_factor(session, challenge, code)
    if proved is None:
        return None
    trail.add(amr=proved.amr)
    trail.write(session)
    return _open(session, proved, before, browsers)


async def sign_out(
    request: Request, settings: Settings, database: Database, browsers: BrowserSessions, trail: Trail
) -> Response:
    """End the browser's session and what it granted to apps."""
    form = await own_form(request, settings)
    await database.run(_end, request.cookies.get(browsers.cookie_name), browsers, trail)
    response = see_other(_next(form.get("next")) or SIGN_IN)
    response.headers.append("set-cookie", browsers.forget())
    return response


def _end(session: Session, cookie: str | None, browsers: BrowserSessions, trail: Trail) -> None:
    trail.user_id = trail.resource = browsers.end(session, cookie)
    trail.write(session)


def _next(path: str | None) -> str | None:
    """Return the path if it leads back to an authorization request or the device page; else None."""
    is_good = path is not None and len(path) <= QUERY_CHARACTERS_MAX and _NEXT.fullmatch(path)
    return path if is_good else None
