"""The handlers of the account page for personal access tokens."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

from sqlmodel import Session
from starlette.responses import Response

from services.auth.access_keys.access_keys import keys_of, make_key, revoke_key
from services.auth.access_keys.schemas import CreateAccessKey, NewAccessKeyOut
from services.auth.clients.scopes import OF_KEYS, SCOPES, STRONG
from services.auth.models import Account, Role
from services.auth.pages.forms import REFUSALS, FormFault, id_of, read_as
from services.auth.pages.visit import ACCOUNT, Visit, page
from services.auth.revocations.log import RevocationLog
from services.auth.sessions.browser import SignedInBrowser
from services.auth.sessions.sessions import Sessions
from services.auth.sessions.tokens import factors_of
from shared.clock import now
from shared.errors import NotFound
from shared.http.idempotency import IdempotencyKey, IdempotencyStore, KeyReused, Reply
from shared.ids import new_id
from shared.lists.pagination import PageQuery

TOKENS = f"{ACCOUNT}/tokens"
OF_STAFF = "admin:support"  # support staff are often no admins, and auth does not know who they are
SCOPE_FIELD = "scope "  # followed by the scope; each checkbox is a field of its own
FORM = "create_token_by_form"
ALREADY_SENT = "This form has already created a token, which is in the list. Send it again for another one."
DAYS = {"7": "7 days", "30": "30 days", "90": "90 days", "365": "One year", "": "Never"}


@page
async def show_tokens(visit: Visit) -> Response:
    """Show your personal access tokens and the form for a new one."""
    browser = await visit.signed_in(TOKENS)
    values = await _values_of(visit, browser.account, {"days": "90"})
    return visit.account_page("account_tokens", browser, made=None, fault=None, **values)


@page
async def create_token_by_form(visit: Visit, sessions: Sessions, responses: IdempotencyStore) -> Response:
    """Create a personal access token. Only the same form, sent again, shows it again."""
    form = await visit.form()
    browser = await visit.signed_in_recently(TOKENS)
    account = browser.account
    try:
        body = read_as(CreateAccessKey, _wanted(form))
        work = partial(_make, visit, browser, body, sessions)
        made = await visit.run(_once, work, visit, responses, _key_of(form, account.id))
    except REFUSALS as error:
        values = await _values_of(visit, account, form)
        return await visit.account_again("account_tokens", browser, error, made=None, **values)
    values = await _values_of(visit, account, {"days": "90"})
    return visit.account_page("account_tokens", browser, made=made, fault=None, **values)


def _key_of(form: dict[str, str], account_id: str) -> IdempotencyKey | None:
    """Return the key that the page has put into the form: a form that is sent again creates one token."""
    key = form.get("key")
    if not key:
        return None
    fields = urlencode(sorted((name, text) for name, text in form.items() if name != "key"))
    return IdempotencyKey.parse(key, caller_id=account_id, operation=FORM, request=fields.encode())


def _once(
    session: Session,
    work: Callable[[Session], NewAccessKeyOut],
    visit: Visit,
    responses: IdempotencyStore,
    key: IdempotencyKey | None,
) -> NewAccessKeyOut:
    """Do the work, or return what it has returned for the same form before."""
    if key is None:
        return work(session)
    try:
        kept = responses.claim(session, key)
    except KeyReused as error:
        raise FormFault(ALREADY_SENT) from error
    if kept is not None:
        visit.trail.is_written = True  # recorded with the token already
        return NewAccessKeyOut.model_validate_json(kept.body)
    made = work(session)
    responses.keep(session, key, Reply(201, (), made.model_dump_json().encode()))
    return made


def _make(
    visit: Visit, browser: SignedInBrowser, body: CreateAccessKey, sessions: Sessions, session: Session
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
        "key": new_id(),
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
