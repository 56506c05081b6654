"""The handlers of the account pages for the authenticator app and passkeys."""

from sqlmodel import Session
from starlette.responses import Response

from services.auth.errors import InvalidCode
from services.auth.factors.factors import Factors
from services.auth.models import PASSKEYS
from services.auth.own_account.authenticator_app import AuthenticatorApp
from services.auth.pages.forms import REFUSALS, credential_of, id_of, read_as
from services.auth.pages.visit import ACCOUNT, Visit, page
from services.auth.passkeys.own_passkeys import OwnPasskeys
from services.auth.passkeys.schemas import PasskeyName, PasskeyOut
from services.auth.schemas import ConfirmFactor, CurrentPassword
from services.auth.sessions.own_password import Person
from shared.errors import NotFound
from shared.http.schemas import Page
from shared.lists.pagination import PageQuery, paginate_equal

_WRONG_CODE = "The code is wrong or was already used. Enter the next one that the app shows."
TOTP, PASSKEYS_PAGE = f"{ACCOUNT}/totp", f"{ACCOUNT}/passkeys"


@page
async def show_totp(visit: Visit, factors: Factors) -> Response:
    """Show the form that sets up an authenticator app, or removes it."""
    browser = await visit.signed_in(TOTP)
    has_app = await visit.site.database.read(factors.has_totp, browser.account.id)
    return visit.account_page("account_totp", browser, has_app=has_app, fault=None)


@page
async def enrol_totp_by_form(visit: Visit, app: AuthenticatorApp) -> Response:
    """Set up an authenticator app: shows its secret as a QR code and as text."""
    form = await visit.form()
    browser = await visit.signed_in_recently(TOTP)
    try:
        body = read_as(CurrentPassword, form)
        shown = await app.enrol(Person.of(browser), body.current_password, visit.trail)
    except REFUSALS as error:
        return await visit.account_again("account_totp", browser, error, has_app=False)
    return visit.account_page("account_totp_confirm", browser, shown=shown, fault=None)


@page
async def confirm_totp_by_form(visit: Visit, app: AuthenticatorApp) -> Response:
    """Confirm the authenticator app by its code. Shows the recovery codes, only this once."""
    form = await visit.form()
    browser = await visit.signed_in_recently(TOTP)
    person = Person.of(browser)
    try:
        code = read_as(ConfirmFactor, {"code": form.get("code", "").replace(" ", "")}).code
        codes = await app.confirm(person, code, visit.trail)
    except REFUSALS as error:
        shown = await app.waiting(person)
        if shown is None:  # it has expired, or was confirmed in another window
            return visit.to(TOTP)
        if isinstance(error, InvalidCode):
            error = InvalidCode(_WRONG_CODE)  # without the advice to use a recovery code
        return await visit.account_again("account_totp_confirm", browser, error, shown=shown)
    return visit.account_page("recovery_codes", browser, codes=codes)


@page
async def remove_totp_by_form(visit: Visit, app: AuthenticatorApp) -> Response:
    """Remove the authenticator app."""
    form = await visit.form()
    browser = await visit.signed_in_recently(TOTP)
    try:
        body = read_as(CurrentPassword, form)
        await app.remove(Person.of(browser), body.current_password, visit.trail)
    except REFUSALS as error:
        return await visit.account_again("account_totp", browser, error, has_app=True)
    return visit.to(f"{ACCOUNT}/security?done=totp")


@page
async def show_passkeys(visit: Visit) -> Response:
    """Show your passkeys."""
    browser = await visit.signed_in(PASSKEYS_PAGE)
    listed = await visit.site.database.read(_passkeys_of, browser.account.id)
    return visit.account_page("account_passkeys", browser, passkeys=listed.items, name="", fault=None)


def _passkeys_of(session: Session, account_id: str) -> Page[PasskeyOut]:
    owner = {"account_id": account_id}
    return paginate_equal(session, PASSKEYS, owner, PageQuery(), PasskeyOut.unchecked)


@page
async def begin_passkey_by_form(visit: Visit, own: OwnPasskeys) -> Response:
    """Name a new passkey; the next page creates it."""
    form = await visit.form()
    browser = await visit.signed_in_recently(PASSKEYS_PAGE)
    try:
        name = read_as(PasskeyName, form).name
        options = await visit.run(own.options, Person.of(browser))
    except REFUSALS as error:
        listed = await visit.site.database.read(_passkeys_of, browser.account.id)
        typed = form.get("name", "")[:100]
        return await visit.account_again(
            "account_passkeys", browser, error, passkeys=listed.items, name=typed
        )
    return visit.account_page("account_passkey_make", browser, name=name, options=options, fault=None)


@page
async def add_passkey_by_form(visit: Visit, own: OwnPasskeys) -> Response:
    """Add the passkey that the script of the page has created."""
    form = await visit.form()
    browser = await visit.signed_in_recently(PASSKEYS_PAGE)
    try:
        name = read_as(PasskeyName, form).name
        _, codes = await own.add(Person.of(browser), name, credential_of(form) or {}, visit.trail)
    except REFUSALS as error:
        listed = await visit.site.database.read(_passkeys_of, browser.account.id)
        typed = form.get("name", "")[:100]
        return await visit.account_again(
            "account_passkeys", browser, error, passkeys=listed.items, name=typed
        )
    if codes:
        return visit.account_page("recovery_codes", browser, codes=codes)
    return visit.to(f"{PASSKEYS_PAGE}?done=passkey")


@page
async def remove_passkey_by_form(visit: Visit, own: OwnPasskeys) -> Response:
    """Remove one of your passkeys."""
    form = await visit.form()
    browser = await visit.signed_in_recently(PASSKEYS_PAGE)
    passkey_id = visit.trail.resource = id_of(form, "passkey_id")
    try:
        await visit.run(_remove, visit, Person.of(browser), passkey_id, own)
    except NotFound:
        await visit.trail.keep(refused_with=NotFound.status)
    return visit.to(f"{PASSKEYS_PAGE}?done=removed")


def _remove(session: Session, visit: Visit, person: Person, passkey_id: str, own: OwnPasskeys) -> None:
    own.remove(session, person, passkey_id)
    visit.trail.write(session)
