"""The authorization endpoint (RFC 6749 section 3.1, OpenID Connect Core section 3.1.2)."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from services.auth.clients.clients import KnownClient
from services.auth.clients.redirect_uris import is_registered
from services.auth.clients.scopes import words
from services.auth.oauth.errors import OAuthError, PageError, invalid_request
from services.auth.oauth.issuer import Issuer
from services.auth.oauth.parameters import Parameters
from services.auth.oauth.storage import Storage
from services.auth.sessions.browser import SignedInBrowser
from services.auth.sessions.tokens import factors_of

QUERY, FORM_POST = RESPONSE_MODES = ("query", "form_post")
PROMPTS = frozenset(("none", "login", "consent", "select_account"))
ACR_VALUES = frozenset(("1", "2"))  # the number of factors; unknown values are ignored
NONCE_CHARACTERS_MAX = 500
STATE_CHARACTERS_MAX = 2000
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_MAX_AGE = re.compile(r"[0-9]{1,9}")
_PUSHED_IS_GONE = "The app's request is unknown, used or expired. Go back to the app and start again."
_NOT_SUPPORTED = {
    "request": "request_not_supported",
    "registration": "registration_not_supported",
}


@dataclass(frozen=True, slots=True)
class Redirect:
    """The way back to the client, with a code or an error: in the URL, or in the fields of a form."""

    url: str
    error: str | None = None
    fields: Mapping[str, str] | None = None  # with response_mode=form_post


@dataclass(frozen=True, slots=True)
class AskToSignIn:
    """The person must enter the password; sign-in then returns to this query."""

    query: str
    hint: str


@dataclass(frozen=True, slots=True)
class AskToStepUp:
    """The signed-in user must confirm their identity first, and returns with this query."""

    query: str
    needs_factor: bool  # the password alone is not enough


@dataclass(frozen=True, slots=True)
class AskForConsent:
    client: KnownClient
    scopes: frozenset[str]
    redirect_uri: str


Outcome = Redirect | AskToSignIn | AskToStepUp | AskForConsent


@dataclass(frozen=True, slots=True)
class Checked:
    """A request whose parameters are all valid."""

    client: KnownClient
    redirect_uri: str
    mode: str
    state: str | None
    scopes: frozenset[str]
    resource: str | None
    nonce: str | None
    code_challenge: str
    prompts: frozenset[str]
    max_age: int | None
    factors: int  # the least number that satisfies acr_values
    login_hint: str


class AuthorizationEndpoint:
    """Decides on authorization requests. It knows nothing about HTTP: it maps a query to an outcome."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer

    def decide(
        self, storage: Storage, query: str, browser: SignedInBrowser | None, answer: str | None = None
    ) -> Outcome:
        """Decide on a request; `answer` is the person's choice on the consent page."""
        outer = _read(query)
        pushed = outer.values.get("request_uri")
        parameters = outer if pushed is None else _pushed(storage, outer)
        client, redirect_uri = _where_to(storage, parameters)
        state, mode = None, QUERY
        try:
            state = parameters.get("state", STATE_CHARACTERS_MAX)
            mode = _mode_of(parameters)
            checked = self._check(parameters, client, redirect_uri, state)
            outcome = self._decide(storage, checked, outer, browser, answer)
        except OAuthError as error:
            outcome = self._back_to(redirect_uri, mode, {**error.body, "state": state})
        if pushed is not None and isinstance(outcome, Redirect) and not storage.pushed.use(pushed, client.id):
            raise PageError(_PUSHED_IS_GONE)
        return outcome

    def push(self, storage: Storage, client: KnownClient, given: Parameters) -> dict[str, Any]:
        """Store a request for later if all its parameters are valid (RFC 9126)."""
        if given.get("request_uri") is not None:
            raise invalid_request("request_uri cannot be pushed.")
        try:
            parameters = Parameters({**given.values, "client_id": client.client_id}, given.repeated)
            _, redirect_uri = _where_to(storage, parameters)
        except PageError as error:
            raise invalid_request(str(error)) from error
        self._check(given, client, redirect_uri, given.get("state", STATE_CHARACTERS_MAX))
        return storage.pushed.keep(client, given)

    def _check(self, given: Parameters, client: KnownClient, redirect_uri: str, state: str | None) -> Checked:
        for name, code in _NOT_SUPPORTED.items():
            if given.get(name) is not None:
                raise OAuthError(code, f"{name} is not supported.")
        if given.require("response_type") != "code":
            raise OAuthError("unsupported_response_type", "response_type must be code.")
        if "authorization_code" not in words(client.grant_types):
            raise OAuthError("unauthorized_client", "The client may not use the authorization code grant.")
        challenge = given.get("code_challenge") or ""
        if not _CHALLENGE.fullmatch(challenge) or given.get("code_challenge_method") != "S256":
            raise invalid_request("code_challenge is required, with code_challenge_method=S256.")
        prompts = words(given.get("prompt"))
        if not prompts <= PROMPTS or ("none" in prompts and len(prompts) > 1):
            raise invalid_request("prompt must be either none, or any of login, consent and select_account.")
        max_age = given.get("max_age")
        if max_age is not None and not _MAX_AGE.fullmatch(max_age):
            raise invalid_request("max_age must be a number of seconds.")
        return Checked(
            client=client,
            redirect_uri=redirect_uri,
            mode=_mode_of(given),
            state=state,
            scopes=self._issuer.granted(client, given.get("scope")),
            resource=self._issuer.resource(given.get("resource")),
            nonce=given.get("nonce", NONCE_CHARACTERS_MAX),
            code_challenge=challenge,
            prompts=prompts,
            max_age=None if max_age is None else int(max_age),
            factors=min((int(one) for one in words(given.get("acr_values")) & ACR_VALUES), default=1),
            login_hint=(given.get("login_hint") or "")[:254],
        )

    def _decide(
        self,
        storage: Storage,
        asked: Checked,
        given: Parameters,
        browser: SignedInBrowser | None,
        answer: str | None,
    ) -> Outcome:
        if browser is None or self._has_to_sign_in(asked, browser, given):
            if "none" in asked.prompts:
                raise OAuthError("login_required", "No one is signed in, or the sign-in is too old.")
            return AskToSignIn(self._to_come_back_with(given), asked.login_hint)
        is_weak = factors_of(browser.amr) < asked.factors
        if is_weak and not storage.has_second_factor(browser.account.id):
            raise OAuthError("unmet_authentication_requirements", "The account has no second factor.")
        if is_weak or self._is_too_old(asked, browser, given):
            if "none" in asked.prompts:
                raise OAuthError("login_required", "The sign-in is too old, or had too few factors.")
            return AskToStepUp(self._to_come_back_with(given), needs_factor=is_weak)
        if answer == "deny":
            raise OAuthError("access_denied", "The person denied the request.")
        if answer != "allow" and self._needs_consent(storage, asked, browser):
            if "none" in asked.prompts:
                raise OAuthError("consent_required", "The person must give consent first.")
            return AskForConsent(asked.client, asked.scopes, asked.redirect_uri)
        if answer == "allow":
            storage.keep_consent(browser.account.id, asked.client, asked.scopes)
        code = storage.keep_code(
            {
                "client_id": asked.client.id,
                "account_id": browser.account.id,
                "session_id": browser.session_id,
                "redirect_uri": asked.redirect_uri,
                "scope": " ".join(sorted(asked.scopes)),
                "resource": asked.resource,
                "nonce": asked.nonce,
                "code_challenge": asked.code_challenge,
                "authenticated": browser.authenticated,
                "amr": browser.amr,
            }
        )
        return self._back_to(asked.redirect_uri, asked.mode, {"code": code, "state": asked.state})

    def _needs_consent(self, storage: Storage, asked: Checked, browser: SignedInBrowser) -> bool:
        if "consent" in asked.prompts:
            return True
        given = storage.consent_of(browser.account.id, asked.client)
        return not asked.client.is_first_party and not asked.scopes <= given

    def _has_to_sign_in(self, asked: Checked, browser: SignedInBrowser, given: Parameters) -> bool:
        """Whether the app demands a new sign-in and there has been none since this request first arrived."""
        wants_login = bool(asked.prompts & {"login", "select_account"})
        return wants_login and not self._was_shown_since(browser, given)

    def _is_too_old(self, asked: Checked, browser: SignedInBrowser, given: Parameters) -> bool:
        """Whether the last sign-in is too old and was not renewed since this request first arrived."""
        if asked.max_age is None:
            return False
        too_old = asked.max_age == 0 or time.time() - browser.authenticated.timestamp() > asked.max_age
        return too_old and not self._was_shown_since(browser, given)

    def _was_shown_since(self, browser: SignedInBrowser, given: Parameters) -> bool:
        asked_at = self._asked_at(given)
        return asked_at is not None and browser.authenticated.timestamp() >= asked_at

    def _to_come_back_with(self, given: Parameters) -> str:
        values = dict(given.values)
        if self._asked_at(given) is None:
            values["asked_at"] = self._issuer.write_moment(given.values["client_id"])
        return urlencode(values)

    def _asked_at(self, given: Parameters) -> float | None:
        """Return when this request of this client first arrived; None if it has not arrived before."""
        return self._issuer.read_moment(given.values.get("asked_at"), given.values["client_id"])

    def _back_to(self, redirect_uri: str, mode: str, values: dict[str, str | None]) -> Redirect:
        given = {name: value for name, value in values.items() if value is not None}
        fields, error = {**given, "iss": self._issuer.url}, given.get("error")
        if mode == FORM_POST:
            return Redirect(redirect_uri, error, fields)
        joint = "&" if "?" in redirect_uri else "?"
        return Redirect(redirect_uri + joint + urlencode(fields), error)


def _mode_of(given: Parameters) -> str:
    mode = given.get("response_mode") or QUERY
    if mode not in RESPONSE_MODES:
        raise invalid_request("response_mode must be query or form_post.")
    return mode


def _read(query: str) -> Parameters:
    try:
        return Parameters.read(query)
    except OAuthError as error:
        raise PageError(error.description) from error


def _pushed(storage: Storage, outer: Parameters) -> Parameters:
    """Return the request that the client has pushed; other parameters in the URL are ignored."""
    try:
        client_id, request_uri = outer.require("client_id"), outer.require("request_uri")
    except OAuthError as error:
        raise PageError(error.description) from error
    query = storage.pushed.find(request_uri, client_id)
    if query is None:
        raise PageError(_PUSHED_IS_GONE)
    return _read(query)


def _where_to(storage: Storage, given: Parameters) -> tuple[KnownClient, str]:
    """Return the client and redirect URI. Nothing is redirected before both are validated."""
    try:
        client_id, redirect_uri = given.require("client_id"), given.require("redirect_uri")
    except OAuthError as error:
        raise PageError(error.description) from error
    client = storage.client(client_id)
    if client is None or not client.is_active:
        raise PageError("No app has this client_id, or the app is disabled.")
    if not is_registered(redirect_uri, client.redirect_uris.split("\n"), is_public=client.is_public):
        raise PageError("The app asked to redirect you to a URL that it has not registered.")
    return client, redirect_uri
