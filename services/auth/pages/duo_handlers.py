"""The page of Duo in the account, the buttons that lead to its prompt, and the return from there."""

from collections.abc import Awaitable
from typing import TypeVar

from sqlmodel import Session
from starlette.responses import JSONResponse, Response

from services.auth.duo.duo import Duo
from services.auth.errors import InvalidMfaToken, LoginThrottled
from services.auth.factors.factors import Factors
from services.auth.models import Account
from services.auth.pages.duo_prompts import keep, noted, problem_of
from services.auth.pages.people import person_of
from services.auth.pages.sign_in_again import TOO_LATE, sign_in_again, wait
from services.auth.pages.visit import ACCOUNT, SIGN_IN, Visit, next_of, page
from services.auth.providers.refusals import Refused
from services.auth.schemas import RecoveryCodesOut, StepUpOut
from services.auth.sessions.answers import signed_in_out
from services.auth.sessions.own_password import Person
from services.auth.sessions.sessions import Sessions, SignedIn
from services.auth.sessions.sign_in import Proved, SecondStep
from services.auth.sessions.tokens import AccessTokens
from shared.errors import Problem
from shared.http.endpoints import REFUSALS as RECORDED

T = TypeVar("T")
DUO_PAGE = f"{ACCOUNT}/duo"
_NOT_STORED = {"Cache-Control": "no-store"}
_TITLE = "Duo did not confirm it"


@page
async def begin_duo_by_form(visit: Visit, duo: Duo, second: SecondStep) -> Response:
    """Send the browser to Duo, to finish signing in."""
    form = await visit.form()
    after, token = next_of(form.get("next")) or "", form.get("mfa_token", "")[:100]
    try:
        sent = await duo.begin_sign_in(token, after, visit.request, visit.trail)
    except InvalidMfaToken:
        return await sign_in_again(visit, TOO_LATE, after)
    except LoginThrottled as error:
        return await wait(visit, error, after)
    except (Refused, Problem) as error:
        problem = await noted(visit, error)
        methods = await visit.run(second.methods_waiting, token)
        values = {"next": after, "mfa_token": token, "methods": methods, "fault": problem.detail}
        response = visit.show("second_factor", problem.status, **values)
        response.headers.update(problem.headers)
        return response
    return visit.to(sent.url, sent.cookie)


@page
async def finish_duo_sign_in(visit: Visit, duo: Duo, sessions: Sessions, tokens: AccessTokens) -> Response:
    """Finish signing in when the browser returns from Duo."""
    is_page, site = visit.wants_page, visit.site

    def opened(session: Session, proved: Proved) -> tuple[str | SignedIn, str]:
        if is_page:
            _, cookie = site.browsers.open(session, proved.account, visit.cookie, proved.amr, visit.device)
            return cookie, proved.device_id
        signed_in = sessions.open(session, proved.account, amr=proved.amr, device=visit.device)
        return signed_in, proved.device_id

    done = await _finished(visit, duo.finish_sign_in(visit.request, visit.trail, opened), SIGN_IN)
    if isinstance(done, Response):
        return done
    (outcome, device_id), after = done
    cookies = site.devices.cookie(device_id), duo.pending.forget()
    if isinstance(outcome, str):
        return visit.to(after or site.settings.home, outcome, *cookies)
    return _json(signed_in_out(outcome, tokens).model_dump(mode="json"), *cookies)


@page
async def show_duo(visit: Visit, factors: Factors) -> Response:
    """Show whether signing in requires Duo."""
    browser = await visit.signed_in(DUO_PAGE)
    has_duo = await visit.site.database.read(factors.has_duo, browser.account.id)
    return visit.account_page("account_duo", browser, has_duo=has_duo, fault=None)


@page
async def add_duo_by_form(visit: Visit, duo: Duo) -> Response:
    """Send the browser to Duo, after which signing in requires it."""
    await visit.form()
    browser = await visit.signed_in_recently(DUO_PAGE)
    try:
        sent = await duo.begin_enrolling(Person.of(browser), visit.request)
    except (Refused, Problem) as error:
        problem = await noted(visit, error)
        has_duo = await visit.site.database.read(duo.factors.has_duo, browser.account.id)
        return visit.account_page(
            "account_duo", browser, problem.status, has_duo=has_duo, fault=problem.detail
        )
    return visit.to(sent.url, sent.cookie)


@page
async def finish_adding_duo(visit: Visit, duo: Duo) -> Response:
    """Add Duo when the browser returns from it. Shows recovery codes with the first factor."""
    done = await _finished(visit, duo.finish_enrolling(visit.request, visit.trail), DUO_PAGE)
    if isinstance(done, Response):
        return done
    account, codes = done
    if not visit.wants_page:
        return _json(RecoveryCodesOut(recovery_codes=codes).model_dump(), duo.pending.forget())
    if not codes:
        return visit.to(f"{ACCOUNT}/security?done=duo", duo.pending.forget())
    # Shown once, even to a browser without a session, because a front end may have begun this with a token.
    response = visit.show("recovery_codes", person=person_of(account), done=None, codes=codes)
    response.headers.append("set-cookie", duo.pending.forget())
    return response


@page
async def remove_duo_by_form(visit: Visit, duo: Duo) -> Response:
    """Remove Duo from the account."""
    await visit.form()
    browser = await visit.signed_in_recently(DUO_PAGE)
    try:
        await visit.run(duo.remove, Person.of(browser), visit.trail)
    except Problem as error:
        return await visit.account_again("account_duo", browser, error, has_duo=False)
    return visit.to(f"{ACCOUNT}/security?done=no-duo")


@page
async def finish_duo_step_up(visit: Visit, duo: Duo, sessions: Sessions, tokens: AccessTokens) -> Response:
    """Record the renewed sign-in when the browser returns from Duo."""
    browser = await visit.browser() if visit.wants_page else None
    expected = None
    if visit.wants_page:
        expected = browser.session_id if browser is not None else ""

    def renew(session: Session, account: Account, session_id: str, amr: str) -> str:
        if visit.wants_page:
            return visit.site.browsers.renew(session, session_id, amr)
        return tokens.issue(account, session_id, sessions.confirm(session, session_id, amr), amr)

    finishing = duo.finish_step_up(visit.request, visit.trail, renew, expected)
    done = await _finished(visit, finishing, ACCOUNT)
    if isinstance(done, Response):
        return done
    outcome, after = done
    if visit.wants_page:
        return visit.to(after or ACCOUNT, outcome, duo.pending.forget())
    body = StepUpOut(token=outcome, expires_in=tokens.lifetime_seconds)
    return _json(body.model_dump(), duo.pending.forget())


async def _finished(visit: Visit, finishing: Awaitable[T], onwards: str) -> T | Response:
    """Return the result, or the response to a refusal: a page, or a raised problem for other clients."""
    try:
        return await finishing
    except (Refused, Problem) as error:
        problem = problem_of(visit, error)
        if not visit.wants_page:
            if problem.status not in RECORDED:  # those are recorded by the endpoint
                await keep(visit, problem)
            raise problem from error
        await keep(visit, problem)
        response = visit.site.pages.say(_TITLE, problem.detail, onwards, "Back", "bad", status=problem.status)
        response.headers.update(problem.headers)
        return response


def _json(body: dict[str, object], *cookies: str) -> Response:
    response = JSONResponse(body, headers=_NOT_STORED)
    for cookie in cookies:
        response.headers.append("set-cookie", cookie)
    return response
