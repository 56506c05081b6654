"""The handlers of the account page for personal access tokens."""

from datetime import timedelta
from typing import Any

from sqlmodel import Session
from starlette.responses import Response

from services.auth.access_keys.access_keys import keys_of, make_key, revoke_key
from services.auth.access_keys.schemas import CreateAccessKey, NewAccessKeyOut
from services.auth.clients.scopes import OF_KEYS, SCOPES, STRONG
from services.auth.models import Account, Role
from services.auth.pages.forms import REFUSALS, id_of, read_as
from services.auth.pages.visit import ACCOUNT, Visit, page
from services.auth.revocations.log import RevocationLog
from services.auth.sessions.browser import SignedInBrowser
from services.auth.sessions.sessions import Sessions
from services.auth.sessions.tokens import factors_of
from shared.clock import now
from shared.errors import NotFound
from shared.lists.pagination import PageQuery

TOKENS = f"{ACCOUNT}/tokens"
OF_STAFF = "admin:support"  # support staff are often no admins, and auth does not know who they are
SCOPE_FIELD = "scope "  # followed by the scope; each checkbox is a field of its own
DAYS = {"7": "7 days", "30": "30 days", "90": "90 days", "365": "One year", "": "Never"}


@page
async def show_tokens(visit: Visit) -> Response:
    """Show your personal access tokens and the form for a new one."""
    browser = await visit.signed_in(TOKENS)
    values = await _values_of(visit, browser.account, {"days": "90"})
    return visit.account_page("account_tokens", browser, made=None, fault=None, **values)


@page
async def create_token_by_form(visit: Visit, sessions: Sessions) -> Response:
    """Create a personal access token, which is shown only this once."""
    form = await visit.form()
    browser = await visit.signed_in_recently(TOKENS)
    account = browser.account
    try:
        body = read_as(CreateAccessKey, _wanted(form))
        made = await visit.run(_make, visit, browser, body, sessions)
    except REFUSALS as error:
        values = await _values_of(visit, account, form)
        return await visit.account_again("account_tokens", browser, error, made=None, **values)
    values = await _values_of(visit, account, {"days": "90"})
    return visit.account_page("account_tokens", browser, made=made, fault=None, **values)


def _make(
    session: Session, visit: Visit, browser: SignedInBrowser, body: CreateAccessKey, sessions: Sessions
) -> NewAccessKeyOut:
    owner = sessions.locked_account_in(session, browser.account.id, browser.session_id)
    made = make_key(session, owner.id, body, factors_of(browser.amr), visit.trail)
    visit.trail.write(session)
    session.flush()
    return made


@page
async def revoke_token_by_form(visit: Visit, revocations: RevocationLog) -> Response:
    """Revoke a personal access token. It is refused within a second."""
    form = await visit.form()
    browser = await visit.signed_in(TOKENS)
    key_id = visit.trail.resource = id_of(form, "key_id")
    try:
        await visit.run(_revoke, visit, browser.account.id, key_id, revocations)
    except NotFound:
        await visit.trail.keep(refused_with=NotFound.status)
    return visit.to(f"{TOKENS}?done=token")


def _revoke(session: Session, visit: Visit, account_id: str, key_id: str, revocations: RevocationLog) -> None:
    if not revoke_key(session, account_id, key_id, revocations):
        raise NotFound
    visit.trail.write(session)


def _wanted(form: dict[str, str]) -> dict[str, Any]:
    """Return the fields of the form as CreateAccessKey takes them."""
    days = form.get("days", "")
    lasts = timedelta(days=int(days)) if days in DAYS and days else None
    scopes = [name.removeprefix(SCOPE_FIELD) for name in form if name.startswith(SCOPE_FIELD)]
    return {
        "name": form.get("name", "").strip(),
        "scopes": scopes,
        "expires": None if lasts is None else now() + lasts,
    }


async def _values_of(visit: Visit, account: Account, typed: dict[str, str]) -> dict[str, Any]:
    """Return the existing tokens and the values of the form."""
    listed = await visit.site.database.read(keys_of, account.id, PageQuery())
    return {
        "keys": listed.items,
        "now": now(),
        "name": typed.get("name", "")[:100],
        "days": typed.get("days", "90"),
        "choices": DAYS,
        "scopes": [
            {
                "field": f"{SCOPE_FIELD}{name}",
                "name": name,
                "words": SCOPES[name],
                "is_strong": name in STRONG,
                "is_chosen": f"{SCOPE_FIELD}{name}" in typed,
            }
            for name in sorted(OF_KEYS, key=lambda name: ":" not in name)  # the broad ones last
            if account.role == Role.ADMIN or name == OF_STAFF or not name.startswith("admin:")
        ],
    }
