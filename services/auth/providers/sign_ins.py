"""Sign-in with a provider: the redirect to it, the callback, and the session or second factor after it."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self
from urllib.parse import parse_qsl

from sqlmodel import Session
from starlette.requests import Request

from services.auth.credentials.devices import Devices, remember
from services.auth.credentials.throttle import Pace
from services.auth.errors import AccountExists, EmailTaken, SignInDenied, StrangeSignIn
from services.auth.providers.identities import ChangedMeanwhile
from services.auth.providers.linking import Linking
from services.auth.providers.openid import plain_word
from services.auth.providers.pending import PendingSignIns, Purpose
from services.auth.providers.person import Person, Response, SignInAtProvider
from services.auth.providers.refusals import Refused
from services.auth.providers.registry import Providers
from services.auth.sessions.browser import BrowserSessions
from services.auth.sessions.sign_in import FactorNeeded, SecondStep
from services.auth.sessions.user_agents import device_named
from services.auth.settings import Settings
from shared.data.database import Database
from shared.errors import InvalidToken, Problem
from shared.events import Trail
from shared.process.proxies import Proxies

METHOD = "fed"  # in `amr`: a provider has signed the person in
# Per network, because anyone can start a sign-in.
PER_NETWORK = Pace(at_once=30, interval=timedelta(seconds=5))
QUERY_BYTES_MAX = 16 * 1024
FIELDS_MAX = 50
CODE_CHARACTERS_MAX = 4096


@dataclass(frozen=True, slots=True)
class SignInOutcome:
    """The result of a callback: cookies to set, or a challenge token."""

    after: str
    cookies: tuple[str, ...] = ()
    needed: FactorNeeded | None = None


@dataclass(frozen=True, slots=True)
class Browser:
    """What the service knows about the browser that returned."""

    session_cookie: str | None
    device_id: str | None
    network: str
    device: str | None


@dataclass(frozen=True, slots=True)
class ProviderSignIns:
    """Starts sign-ins at providers, and finishes them when the browser returns."""

    database: Database
    providers: Providers
    pending: PendingSignIns
    linking: Linking
    second: SecondStep
    browsers: BrowserSessions
    devices: Devices
    proxies: Proxies

    @classmethod
    def of(cls, settings: Settings, database: Database, *others: Any) -> Self:
        return cls(database, Providers(settings), PendingSignIns(settings), *others)

    async def begin(self, provider: SignInAtProvider, request: Request, purpose: Purpose) -> tuple[str, str]:
        """Return the URL to redirect to, and the Set-Cookie value that binds the sign-in to this browser."""
        state = self.pending.new_state()
        # First, so that nothing is stored while the provider is down.
        url = await provider.url(self.pending.secrets_of(state), self.providers.redirect_uri(provider))
        cookie, network = request.cookies.get(self.pending.cookie_name), self.proxies.network_of(request)

        def keep(session: Session) -> str:
            PER_NETWORK.take(session, f"sign-ins at providers from {network}")
            return self.pending.keep(session, state, provider.settings.name, cookie, purpose)

        return url, await self.database.run(keep)

    async def use_state(self, provider: SignInAtProvider, request: Request, given: dict[str, str]) -> Purpose:
        """Consume the state and return the purpose of the sign-in."""
        cookie = request.cookies.get(self.pending.cookie_name)
        return await self.database.run(self.pending.use, provider.settings.name, given, cookie)

    async def finish(
        self,
        provider: SignInAtProvider,
        request: Request,
        given: dict[str, str],
        purpose: Purpose,
        trail: Trail,
    ) -> SignInOutcome:
        """Sign in the user that the provider names, or connect the identity to the requesting account."""
        await provider.require_sender(given.get("iss"))
        if "error" in given:
            raise Refused(SignInDenied(), f"provider_said_{plain_word(given['error'])}")
        code = given.get("code", "")
        if not 1 <= len(code) <= CODE_CHARACTERS_MAX:
            raise Refused(StrangeSignIn(), "code_missing")
        secrets, back = self.pending.secrets_of(given["state"]), self.providers.redirect_uri(provider)
        person = await provider.person(Response(code, given.get("iss")), secrets, back)
        browser = Browser(
            session_cookie=request.cookies.get(self.browsers.cookie_name),
            device_id=self.devices.device_of(request),
            network=self.proxies.network_of(request),
            device=device_named(request.headers.get("user-agent")),
        )
        return await self._signed_in(provider, person, purpose, browser, trail)

    async def _signed_in(
        self, provider: SignInAtProvider, person: Person, purpose: Purpose, browser: Browser, trail: Trail
    ) -> SignInOutcome:
        work = self._arrive if purpose.account_id is None else self._connect
        for is_again in (False, True):
            try:
                return await self.database.run(work, provider, person, purpose, browser, trail)
            except (ChangedMeanwhile, EmailTaken):
                # A concurrent request was first, perhaps of the same user, who then has an account by now.
                if is_again:
                    break
            except InvalidToken as error:
                raise Refused(StrangeSignIn(), "session_ended") from error
        raise Refused(AccountExists(), "changed_meanwhile")

    def _arrive(
        self,
        session: Session,
        provider: SignInAtProvider,
        person: Person,
        purpose: Purpose,
        browser: Browser,
        trail: Trail,
    ) -> SignInOutcome:
        account, how = self.linking.account_of(session, provider.settings, person, browser.network)
        device_id = remember(session, account.id, browser.device_id)
        proved = self.second.after_first(session, account, device_id, METHOD)
        trail.user_id = trail.resource = account.id
        trail.add(account=how, second_factor="needed" if isinstance(proved, FactorNeeded) else "none")
        trail.write(session)
        if isinstance(proved, FactorNeeded):
            return SignInOutcome(purpose.after, needed=proved)
        _, cookie = self.browsers.open(session, account, browser.session_cookie, proved.amr, browser.device)
        return SignInOutcome(purpose.after, (cookie, self.devices.cookie(device_id)))

    def _connect(
        self,
        session: Session,
        provider: SignInAtProvider,
        person: Person,
        purpose: Purpose,
        _browser: Browser,
        trail: Trail,
    ) -> SignInOutcome:
        account = self.linking.connect(session, provider.settings, person, purpose)
        trail.user_id = trail.resource = account.id
        trail.add(account="connected")
        trail.write(session)
        return SignInOutcome(purpose.after)


def parameters_of(request: Request) -> dict[str, str]:
    """Return the parameters of a callback. Repeated parameters are ambiguous, and refused."""
    raw: bytes = request.scope["query_string"]
    if len(raw) > QUERY_BYTES_MAX:
        raise Refused(StrangeSignIn(), "query_too_long")
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError as error:
        raise Refused(StrangeSignIn(), "query_malformed") from error
    given = dict(pairs)
    if len(given) < len(pairs):
        raise Refused(StrangeSignIn(), "parameter_repeated")
    return given


def as_refusal(error: Problem) -> Refused:
    """Convert a refusal of another package; its code becomes the reason."""
    return Refused(error, error.code)
