"""The handlers of the page that confirms who you are before a sensitive change."""

from typing import Any

from sqlmodel import Session
from starlette.responses import Response

from services.auth.duo.duo import Duo
from services.auth.errors import UnknownPasskey
from services.auth.models import Account
from services.auth.own_account.identity_check import IdentityCheck
from services.auth.pages.duo_prompts import step_up_by_duo
from services.auth.pages.forms import REFUSALS, credential_of, read_as
from services.auth.pages.people import person_of
from services.auth.pages.visit import ACCOUNT, Visit, next_of, page
from services.auth.schemas import CurrentPassword
from services.auth.sessions.browser import SignedInBrowser
from services.auth.sessions.own_password import Person
from services.auth.sessions.tokens import TWO

_OTHER_PASSKEY = "The passkey belongs to another account, or too much time has passed. Try again."


@page
async def show_step_up(visit: Visit, identity: IdentityCheck) -> Response:
    """Show the form that confirms who you are."""
    given = visit.query
    after = next_of(given.get("next")) or ACCOUNT
    browser = await visit.signed_in(after)
    return visit.show("step_up", fault=None, **await _values_of(browser, given, after, identity))


@page
async def step_up(visit: Visit, identity: IdentityCheck, duo: Duo) -> Response:
    """Confirm who you are by password and code or Duo, or by a passkey. Replaces the session cookie."""
    form = await visit.form()
    after = next_of(form.get("next")) or ACCOUNT
    browser = await visit.signed_in(after)
    person, credential = Person.of(browser), credential_of(form)

    def renew(session: Session, account: Account, amr: str) -> str:
        visit.trail.user_id = account.id
        return visit.site.browsers.renew(session, browser.session_id, amr)

    try:
        if "duo" in form:
            return await step_up_by_duo(visit, duo, person, form, after)
        if credential is not None:
            cookie = await identity.by_passkey(person, credential, visit.trail, renew)
        else:
            password = read_as(CurrentPassword, form).current_password
            code = form.get("code", "").strip()[:40]
            cookie = await identity.by_password(person, password, code, visit.trail, renew)
    except REFUSALS as error:
        if isinstance(error, UnknownPasskey):
            error = UnknownPasskey(_OTHER_PASSKEY)
        return await visit.again("step_up", error, **await _values_of(browser, form, after, identity))
    return visit.to(after, cookie)


async def _values_of(
    browser: SignedInBrowser, given: dict[str, str], after: str, identity: IdentityCheck
) -> dict[str, Any]:
    ways, needs_two = await identity.ways_of(Person.of(browser)), given.get("factors") == str(TWO)
    return {
        "next": after,
        "factors": str(TWO) if needs_two else "",
        "person": person_of(browser.account),
        "with_password": ways.has_password and (ways.is_code_needed or not needs_two),
        "with_code": bool({"totp", "recovery_code"}.intersection(ways.methods)) and ways.is_code_needed,
        "with_duo": "duo" in ways.methods,
        "with_passkey": "passkey" in ways.methods,
    }
