"""The endpoints that browsers pass through when they sign in with a provider."""

import structlog
from starlette.responses import JSONResponse, Response

from services.auth.errors import ForeignForm, LoginThrottled
from services.auth.factors.challenges import CHALLENGE_SECONDS
from services.auth.pages.same_origin import require_same_origin
from services.auth.pages.visit import SIGN_IN, Visit, next_of, page
from services.auth.provider_models import AFTER_CHARACTERS_MAX
from services.auth.providers.connected import CONNECTED
from services.auth.providers.pending import Purpose
from services.auth.providers.person import SignInAtProvider
from services.auth.providers.refusals import Refused
from services.auth.providers.registry import Providers
from services.auth.providers.sign_ins import ProviderSignIns, SignInOutcome, as_refusal, parameters_of
from services.auth.schemas import MfaNeededOut
from services.auth.sessions.sign_in import FactorNeeded
from shared.errors import BadRequest, Problem
from shared.http.endpoints import REFUSALS
from shared.identity.same_origin import origin_of

CALLBACK = "/auth/callback"
_TITLE = "You were not signed in"

log = structlog.get_logger(__name__)


@page
async def begin_provider_sign_in(
    visit: Visit, provider: str, providers: Providers, sign_ins: ProviderSignIns
) -> Response:
    """Redirect the browser to a provider to sign in there."""
    after = next_of(visit.query.get("next")) or ""
    if len(after) > AFTER_CHARACTERS_MAX:
        raise BadRequest(f"next is longer than {AFTER_CHARACTERS_MAX} characters.")
    return await _send_to(providers.named(provider), visit, Purpose(after), sign_ins)


@page
async def begin_front_end_sign_in(visit: Visit, providers: Providers, sign_ins: ProviderSignIns) -> Response:
    """Redirect the browser to the only provider or the sign-in page, and afterwards to FRONTEND_URL."""
    provider = providers.only()
    if provider is None:
        return visit.to(SIGN_IN)
    purpose = Purpose(is_for_front_end=bool(visit.site.settings.frontend_url))
    return await _send_to(provider, visit, purpose, sign_ins)


async def _send_to(
    provider: SignInAtProvider, visit: Visit, purpose: Purpose, sign_ins: ProviderSignIns
) -> Response:
    try:
        url, cookie = await sign_ins.begin(provider, visit.request, purpose)
    except (Refused, LoginThrottled) as error:
        refused = as_refusal(error) if isinstance(error, Problem) else error
        return await _refuse(refused, provider, None, visit)
    return visit.to(url, cookie)


@page
async def finish_provider_sign_in(
    visit: Visit, provider: str, providers: Providers, sign_ins: ProviderSignIns
) -> Response:
    """Finish a sign-in when the browser returns from a provider."""
    return await _finish(providers.with_callback(f"{CALLBACK}/{provider}"), visit, sign_ins)


@page
async def finish_short_callback(visit: Visit, providers: Providers, sign_ins: ProviderSignIns) -> Response:
    """Finish a sign-in with the provider that has the short callback URL."""
    return await _finish(providers.with_callback(CALLBACK), visit, sign_ins)


async def _finish(provider: SignInAtProvider, visit: Visit, sign_ins: ProviderSignIns) -> Response:
    visit.trail.add(provider=provider.settings.name)
    purpose: Purpose | None = None
    try:
        given = parameters_of(visit.request)
        purpose = await sign_ins.use_state(provider, visit.request, given)
        outcome = await sign_ins.finish(provider, visit.request, given, purpose, visit.trail)
    except Refused as error:
        return await _refuse(error, provider, purpose, visit)
    except Problem as error:
        if error.status >= 500:
            raise
        return await _refuse(as_refusal(error), provider, purpose, visit)
    if outcome.needed is not None:
        return _ask_for_factor(outcome, outcome.needed, visit)
    cookies = (*outcome.cookies, sign_ins.pending.forget())
    return visit.to(outcome.after or visit.site.settings.home, *cookies)


def _ask_for_factor(outcome: SignInOutcome, needed: FactorNeeded, visit: Visit) -> Response:
    if visit.wants_page:
        return visit.show(
            "second_factor",
            next=outcome.after,
            mfa_token=needed.mfa_token,
            methods=needed.methods,
            fault=None,
        )
    body = MfaNeededOut(mfa_token=needed.mfa_token, methods=needed.methods, expires_in=CHALLENGE_SECONDS)
    return JSONResponse(body.model_dump(), headers={"Cache-Control": "no-store"})


async def _refuse(
    error: Refused, provider: SignInAtProvider, purpose: Purpose | None, visit: Visit
) -> Response:
    """Log and record the reason. The user sees only the problem: as a page, or as JSON."""
    problem, status = error.problem, error.problem.status
    tell = log.warning if status >= 500 else log.info
    tell("provider_sign_in_refused", provider=provider.settings.name, reason=error.reason)
    visit.trail.add(reason=error.reason)
    is_for_front_end = purpose is not None and purpose.is_for_front_end
    if is_for_front_end or visit.wants_page or status not in REFUSALS:
        await visit.trail.keep(refused_with=status)  # other refusals are recorded by the endpoint
    if is_for_front_end:
        return visit.to(f"{visit.site.settings.frontend_url}/login?error={problem.code}")
    if not visit.wants_page:
        raise problem
    is_connecting = purpose is not None and purpose.account_id is not None
    where, label = (CONNECTED, "Back to your account") if is_connecting else (SIGN_IN, "Back to sign in")
    response = visit.site.pages.say(_TITLE, problem.detail, where, label, "bad", status=status)
    response.headers.update(problem.headers)
    return response


@page
async def sign_out_front_end(visit: Visit) -> Response:
    """End the browser's session. A link on another site leads to the page with the button instead."""
    settings = visit.site.settings
    if visit.request.headers.get("origin") != origin_of(settings.frontend_url or settings.oauth_issuer):
        try:
            require_same_origin(visit.request, settings)
        except ForeignForm:
            return visit.to(SIGN_IN)
    await visit.end_session()
    headers = {"Cache-Control": "no-store", "Set-Cookie": visit.site.browsers.forget()}
    return JSONResponse({}, headers=headers)
