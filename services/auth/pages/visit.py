"""The context of one request to a page: the user, the form, and the response."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, get_type_hints
from urllib.parse import urlencode

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from services.auth.credentials.devices import Devices
from services.auth.pages.forms import FormFault, fault_of, own_form, query_of, see_other
from services.auth.pages.people import person_of
from services.auth.pages.render import Pages
from services.auth.sessions.browser import BrowserSessions, SignedInBrowser
from services.auth.sessions.tokens import factors_of
from services.auth.sessions.user_agents import device_named
from services.auth.settings import Settings
from shared.data.database import Database
from shared.errors import InvalidToken, Problem, SignInAgain
from shared.events import Trail
from shared.http.inputs import header
from shared.identity.step_up import RECENT

P = ParamSpec("P")
T = TypeVar("T")
PageHandler = Callable[..., Awaitable[Response]]

SIGN_IN, STEP_UP = "/auth/signin", "/auth/step-up"
ACCOUNT = "/auth/account"
NEXT_CHARACTERS_MAX = 16 * 1024
SERVER_ERROR = 500
# Messages shown after a change that redirects back to a page.
DONE = {
    "names": "Your names are saved.",
    "password": "Your password is changed, and your other sessions have ended.",
    "session": "That session has ended.",
    "app": "That app is disconnected.",
    "totp": "The authenticator app is removed.",
    "passkey": "Your passkey is added.",
    "removed": "That passkey is removed.",
    "duo": "Duo is on. Signing in requires it from now on.",
    "no-duo": "Duo is removed.",
    "provider": "That account is disconnected.",
    "token": "That token is revoked.",
}
_NEXT = re.compile(
    r"/oauth/(?:authorize\?[!-~]*|device(?:\?[!-~]*)?)|/auth/account(?:/[a-z]+)?|/auth/confirm\?token=[\w-]{1,100}"
    r"|/console(?:/[a-z]+)?(?:\?[!-~]*)?",
    re.ASCII,
)


class Elsewhere(Exception):
    """Raised to redirect the browser to another page first."""

    def __init__(self, url: str) -> None:
        self.url = url


@dataclass(frozen=True, slots=True)
class Site:
    """What all pages share."""

    settings: Settings
    database: Database
    browsers: BrowserSessions
    devices: Devices
    pages: Pages


@dataclass(frozen=True, slots=True)
class Visit:
    """One request to a page."""

    request: Request
    site: Site
    trail: Trail

    @property
    def cookie(self) -> str | None:
        return self.request.cookies.get(self.site.browsers.cookie_name)

    @property
    def device_id(self) -> str | None:
        return self.site.devices.device_of(self.request)

    @property
    def device(self) -> str | None:
        return device_named(self.request.headers.get("user-agent"))

    @property
    def wants_page(self) -> bool:
        """Whether the client accepts HTML, as browsers do."""
        return "text/html" in (header(self.request, b"accept") or "")

    @property
    def query(self) -> dict[str, str]:
        return query_of(self.request)

    async def form(self) -> dict[str, str]:
        """Return the submitted form, if it comes from one of our own pages."""
        return await own_form(self.request, self.site.settings)

    async def run(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.site.database.run(work, *args, **kwargs)

    async def browser(self) -> SignedInBrowser | None:
        """Return the browser's session, if any."""
        return await self.run(self.site.browsers.find, self.cookie)

    async def signed_in(self, here: str = ACCOUNT) -> SignedInBrowser:
        """Return the browser's session, or redirect to the sign-in page, which leads back `here`."""
        browser = await self.browser()
        if browser is None:
            if self.request.method == "POST":
                await self.trail.keep(refused_with=InvalidToken.status)
            raise Elsewhere(f"{SIGN_IN}?{urlencode({'next': here})}")
        self.trail.user_id = self.trail.resource = browser.account.id
        return browser

    async def signed_in_recently(self, here: str) -> SignedInBrowser:
        """Return a session with a recent sign-in, or redirect to a page that leads to one."""
        browser = await self.signed_in(here)
        if not RECENT.is_met(browser.authenticated.timestamp(), factors_of(browser.amr)):
            if self.request.method == "POST":
                await self.trail.keep(refused_with=InvalidToken.status)
            raise Elsewhere(f"{STEP_UP}?{urlencode({'next': here})}")
        return browser

    async def end_session(self) -> None:
        """End the browser's session and what it granted to apps."""
        await self.run(_end, self)

    def show(self, page: str, status: int = 200, /, **values: Any) -> Response:
        return self.site.pages.show(page, status, **values)

    def account_page(
        self, page: str, browser: SignedInBrowser, status: int = 200, /, **values: Any
    ) -> Response:
        """Show a page of the account."""
        done = DONE.get(self.query.get("done", "")) if self.request.method == "GET" else None
        return self.show(page, status, person=person_of(browser.account), done=done, **values)

    async def account_again(
        self, page: str, browser: SignedInBrowser, error: FormFault | Problem, **values: Any
    ) -> Response:
        """Show a form of the account again, with what was wrong."""
        return await self.again(page, error, person=person_of(browser.account), done=None, **values)

    async def refused(self, error: FormFault | Problem) -> str:
        """Record a refusal and return its message; raise server errors, which the user cannot fix."""
        if isinstance(error, InvalidToken):  # the session ended in the meantime
            raise Elsewhere(SIGN_IN)
        if isinstance(error, SignInAgain):
            await self.trail.keep(refused_with=error.status)
            raise Elsewhere(f"{STEP_UP}?{urlencode({'next': ACCOUNT})}")
        if isinstance(error, Problem) and error.status >= SERVER_ERROR:
            raise error
        if not self.trail.is_written:
            await self.trail.keep(refused_with=error.status)
        return fault_of(error)

    async def again(self, page: str, error: FormFault | Problem, **values: Any) -> Response:
        """Show a form again, with what was wrong."""
        response = self.show(page, error.status, fault=await self.refused(error), **values)
        if isinstance(error, Problem):
            response.headers.update(error.headers)
        return response

    def to(self, url: str, *cookies: str) -> Response:
        """Redirect the browser, setting these cookies."""
        response = see_other(url)
        for cookie in cookies:
            response.headers.append("set-cookie", cookie)
        return response


def page(handler: Callable[..., Awaitable[Response]]) -> PageHandler:
    """Adapt a handler that takes a `visit` to the operations, which inject a request, a site and a trail."""

    @wraps(handler)
    async def of_request(request: Request, site: Site, trail: Trail, **others: Any) -> Response:
        try:
            return await handler(Visit(request, site, trail), **others)
        except Elsewhere as elsewhere:
            return see_other(elsewhere.url)

    hints = get_type_hints(handler)
    del hints["visit"]
    of_request.__annotations__ = {"request": Request, "site": Site, "trail": Trail, **hints}
    return of_request


def _end(session: Session, visit: Visit) -> None:
    visit.trail.user_id = visit.trail.resource = visit.site.browsers.end(session, visit.cookie)
    visit.trail.write(session)


def next_of(given: str | None) -> str | None:
    """Return the path if sign-in may lead there: an app, a device, the account, the console, a link."""
    is_good = given is not None and len(given) <= NEXT_CHARACTERS_MAX and _NEXT.fullmatch(given)
    return given if is_good else None
