"""The handlers of the page of connected provider accounts."""

from sqlmodel import Session
from starlette.responses import Response

from services.auth.pages.forms import id_of
from services.auth.pages.visit import Visit, page
from services.auth.providers.connected import CONNECTED, Connected
from services.auth.providers.identities import identities_of
from services.auth.providers.pending import Purpose
from services.auth.providers.refusals import Refused
from services.auth.providers.sign_ins import ProviderSignIns
from services.auth.sessions.browser import SignedInBrowser
from shared.errors import Problem


@page
async def show_connected_accounts(visit: Visit, connected: Connected) -> Response:
    """Show the connected accounts, and the providers that can be connected."""
    browser = await visit.signed_in(CONNECTED)
    return visit.account_page(
        "account_providers", browser, fault=None, **await _shown(visit, browser, connected)
    )


@page
async def change_connected_accounts(
    visit: Visit, connected: Connected, sign_ins: ProviderSignIns
) -> Response:
    """Connect or disconnect a provider account."""
    form = await visit.form()
    browser = await visit.signed_in_recently(CONNECTED)
    try:
        if "connect" in form:
            return await _send(form["connect"], visit, browser, sign_ins)
        await visit.run(_disconnect, visit, browser, id_of(form, "disconnect"), connected)
    except Refused as error:
        visit.trail.add(reason=error.reason)
        return await _again(visit, browser, error.problem, connected)
    except Problem as error:
        return await _again(visit, browser, error, connected)
    return visit.to(f"{CONNECTED}?done=provider")


async def _send(name: str, visit: Visit, browser: SignedInBrowser, sign_ins: ProviderSignIns) -> Response:
    purpose = Purpose(CONNECTED, account_id=browser.account.id, session_id=browser.session_id)
    url, cookie = await sign_ins.begin(sign_ins.providers.named(name), visit.request, purpose)
    return visit.to(url, cookie)


def _disconnect(
    session: Session, visit: Visit, browser: SignedInBrowser, identity_id: str, connected: Connected
) -> None:
    connected.disconnect(session, browser.account.id, identity_id, visit.trail)
    visit.trail.write(session)


async def _again(visit: Visit, browser: SignedInBrowser, problem: Problem, connected: Connected) -> Response:
    """Show the page again with the refusal; an outage of a provider is shown as well."""
    if not visit.trail.is_written:
        await visit.trail.keep(refused_with=problem.status)
    shown = await _shown(visit, browser, connected)
    page_again = visit.account_page(
        "account_providers", browser, problem.status, fault=problem.detail, **shown
    )
    page_again.headers.update(problem.headers)
    return page_again


async def _shown(visit: Visit, browser: SignedInBrowser, connected: Connected) -> dict[str, object]:
    rows = await visit.site.database.read(identities_of, browser.account.id)
    has = {one.provider for one in rows}
    return {
        "connected": [
            {"id": one.id, "label": connected.providers.label_of(one.provider), "email": one.email}
            for one in rows
        ],
        "others": [one for one in connected.providers.configured if one.name not in has],
    }
