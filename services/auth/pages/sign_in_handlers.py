"""The handlers of the sign-in pages: password, second factor, passkey, and sign-out."""

from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Row
from sqlmodel import Session
from starlette.responses import Response

from services.auth.credentials.devices import remember
from services.auth.errors import (
    InvalidCredentials,
    InvalidMfaToken,
    LoginThrottled,
    PasswordChangeNeeded,
    UnknownPasskey,
)
from services.auth.fields import AnyPassword, LoginName
from services.auth.models import Account
from services.auth.pages.forms import credential_of, fault_of
from services.auth.pages.people import person_of
from services.auth.pages.sign_in_again import TOO_LATE, sign_in_again, wait
from services.auth.pages.visit import SIGN_IN, Visit, next_of, page
from services.auth.passkeys.own_passkeys import OwnPasskeys
from services.auth.sessions.sign_in import (
    PASSKEY,
    Candidate,
    FactorNeeded,
    PasswordCheck,
    Proved,
    SecondStep,
    begin_second_step,
)
from shared.errors import Invalid

_NAME: TypeAdapter[str] = TypeAdapter(LoginName)
_PASSWORD: TypeAdapter[str] = TypeAdapter(AnyPassword)
_WRONG_CODE = "The code is wrong or was already used. Wait for the next one."
_WRONG = "The name or the password is wrong. Check both and try again."
_WRONG_PASSKEY = "The passkey is unknown here, or too much time has passed. Try again, or use your password."
_OTHER_PASSKEY = "The passkey belongs to another account, or too much time has passed. Try again."
Opened = tuple[str, str]  # the Set-Cookie value of a new session, and the id of the device


@page
async def show_sign_in(visit: Visit) -> Response:
    """Show the sign-in page, or the account that is signed in."""
    given = visit.query
    after = next_of(given.get("next"))
    if after is None:
        browser = await visit.browser()
        if browser is not None:
            return visit.show("signed_in", person=person_of(browser.account))
    return visit.show("sign_in", next=after or "", name=given.get("hint", "")[:254], fault=None)


@page
async def sign_in(visit: Visit, check: PasswordCheck, second: SecondStep) -> Response:
    """Sign in with the form of the page. Sets the session cookie."""
    form = await visit.form()
    after, typed = next_of(form.get("next")) or "", form.get("name", "")[:254]
    try:
        name, password = _NAME.validate_python(typed), _PASSWORD.validate_python(form.get("password"))
        new = form.get("new_password") or None  # checked after the password, so that strangers learn nothing
        candidate = await check.candidate(name.lower(), password, visit.request, visit.trail, new)
        outcome = await visit.run(_after_password, visit, candidate, second)
    except PasswordChangeNeeded:
        await visit.trail.keep(refused_with=PasswordChangeNeeded.status)
        return visit.show("first_password", 403, next=after, name=typed, fault=None)
    except Invalid as error:
        return visit.show("first_password", 422, next=after, name=typed, fault=fault_of(error))
    except (InvalidCredentials, ValidationError):
        return await sign_in_again(visit, _WRONG, after, typed)
    except LoginThrottled as error:
        return await wait(visit, error, after, typed)
    if isinstance(outcome, FactorNeeded):
        return visit.show(
            "second_factor", next=after, mfa_token=outcome.mfa_token, methods=outcome.methods, fault=None
        )
    return _signed_in(visit, outcome, after)


def _after_password(
    session: Session, visit: Visit, candidate: Candidate, second: SecondStep
) -> Opened | FactorNeeded:
    proved = second.after_password(session, candidate)
    visit.trail.add(second_factor="needed" if isinstance(proved, FactorNeeded) else "none")
    if isinstance(proved, Proved):
        visit.trail.add(**proved.details)
    visit.trail.write(session)
    return proved if isinstance(proved, FactorNeeded) else _open(session, visit, proved)


@page
async def sign_in_with_code(visit: Visit, second: SecondStep, own: OwnPasskeys) -> Response:
    """Finish signing in with a code from the authenticator app, a recovery code or a passkey."""
    form = await visit.form()
    after, token = next_of(form.get("next")) or "", form.get("mfa_token", "")[:100]
    try:
        challenge = await visit.run(begin_second_step, token)
    except InvalidMfaToken:
        return await sign_in_again(visit, TOO_LATE, after)
    except LoginThrottled as error:
        return await wait(visit, error, after)
    visit.trail.user_id = visit.trail.resource = challenge.account_id
    credential = credential_of(form)
    if credential is None:
        code = form.get("code", "").strip()[:40]
        opened = await visit.run(_after_code, visit, challenge, code, second)
    else:
        opened = await _after_passkey(visit, challenge, credential, second, own)
    if opened is not None:
        return _signed_in(visit, opened, after)
    await visit.trail.keep(refused_with=401)
    methods = await visit.run(second.methods_of, challenge)
    fault = _WRONG_CODE if credential is None else _OTHER_PASSKEY
    return visit.show("second_factor", 401, next=after, mfa_token=token, methods=methods, fault=fault)


def _after_code(
    session: Session, visit: Visit, challenge: Row[Any], code: str, second: SecondStep
) -> Opened | None:
    proved = second.after_factor(session, challenge, code)
    if proved is None:
        return None
    visit.trail.add(amr=proved.amr, **proved.details)
    visit.trail.write(session)
    return _open(session, visit, proved)


async def _after_passkey(
    visit: Visit, challenge: Row[Any], credential: dict[str, Any], second: SecondStep, own: OwnPasskeys
) -> Opened | None:
    def work(session: Session, account: Account) -> Opened:
        proved = second.after_passkey(session, challenge, account)
        if proved is None:
            raise UnknownPasskey
        visit.trail.add(amr=proved.amr, **proved.details)
        return _open(session, visit, proved)

    try:
        return await own.show(credential, visit.trail, work)
    except UnknownPasskey:
        return None


@page
async def sign_in_by_passkey_form(visit: Visit, own: OwnPasskeys) -> Response:
    """Sign in with a passkey, which the script of the page has put into the form."""
    form = await visit.form()
    after = next_of(form.get("next")) or ""

    def work(session: Session, account: Account) -> Opened:
        device_id = remember(session, account.id, visit.device_id)
        return _open(session, visit, Proved(account, device_id, PASSKEY))

    try:
        opened = await own.show(credential_of(form) or {}, visit.trail, work)
    except UnknownPasskey:
        return await sign_in_again(visit, _WRONG_PASSKEY, after)
    return _signed_in(visit, opened, after)


def _open(session: Session, visit: Visit, proved: Proved) -> Opened:
    _, cookie = visit.site.browsers.open(session, proved.account, visit.cookie, proved.amr, visit.device)
    return cookie, proved.device_id


def _signed_in(visit: Visit, opened: Opened, after: str) -> Response:
    cookie, device_id = opened
    return visit.to(after or visit.site.settings.home, cookie, visit.site.devices.cookie(device_id))


@page
async def sign_out(visit: Visit) -> Response:
    """End the browser's session and what it granted to apps."""
    form = await visit.form()
    await visit.end_session()
    return visit.to(next_of(form.get("next")) or SIGN_IN, visit.site.browsers.forget())
