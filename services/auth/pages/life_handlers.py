"""The pages for registration, address confirmation, forgotten passwords and invitations."""

from urllib.parse import urlencode

from sqlmodel import Session
from starlette.responses import Response

from services.auth.errors import SignInToConfirm
from services.auth.lifecycle.addresses import Addresses
from services.auth.lifecycle.invitations import Invitations
from services.auth.lifecycle.registration import Registration
from services.auth.lifecycle.requests import MailRequests
from services.auth.lifecycle.resets import PasswordResets
from services.auth.lifecycle.schemas import AcceptInvitation, ChangeEmail, ForgotPassword, ResetPassword
from services.auth.mails.links import Links, Purpose
from services.auth.models import Account
from services.auth.pages.forms import REFUSALS, read_as, token_of
from services.auth.pages.visit import ACCOUNT, SIGN_IN, Visit, next_of, page
from services.auth.schemas import Register
from services.auth.sessions.own_password import Person
from shared.errors import Problem
from shared.events import Trail
from shared.process.proxies import Proxies

EMAIL, CONFIRM = "/auth/account/email", "/auth/confirm"
_CHECK_MAIL = "Check your mail"
_DEAD = "It is invalid, expired or already used, or a newer one was sent to you. Nothing was changed."


@page
async def show_forgotten(visit: Visit) -> Response:
    """Show the form for a forgotten password."""
    return visit.show("forgotten", email="", fault=None)


@page
async def send_forgotten(visit: Visit, asked: MailRequests, proxies: Proxies) -> Response:
    """Send a link that sets a new password. The page is the same for every address."""
    form = await visit.form()
    try:
        email = read_as(ForgotPassword, form).email
        await visit.run(_ask_for_link, asked, proxies.network_of(visit.request), email, visit.trail)
    except REFUSALS as error:
        return await visit.again("forgotten", error, email=form.get("email", "")[:254])
    return visit.site.pages.say(
        _CHECK_MAIL,
        f"If {email} has an account here, a link to choose a new password is on its way. It is valid for "
        "30 minutes.",
        SIGN_IN,
        "Back to sign in",
    )


def _ask_for_link(session: Session, asked: MailRequests, network: str, email: str, trail: Trail) -> None:
    asked.ask(session, network, email)
    trail.write(session)


@page
async def show_reset(visit: Visit, links: Links) -> Response:
    """Show the form for a new password. Opening the link does not use it up."""
    token = token_of(visit.query)
    try:
        email = await visit.site.database.read(_email_of, links, (Purpose.RESET,), token)
    except Problem:
        return _dead(visit, "/auth/forgot", "Send a new link")
    return visit.show("reset", token=token, email=email, fault=None)


@page
async def set_password(visit: Visit, links: Links, resets: PasswordResets) -> Response:
    """Set the new password. The person then signs in with it."""
    form = await visit.form()
    token = token_of(form)
    try:
        email = await visit.site.database.read(_email_of, links, (Purpose.RESET,), token)
    except Problem as error:
        await visit.trail.keep(refused_with=error.status)
        return _dead(visit, "/auth/forgot", "Send a new link")
    try:
        body = read_as(ResetPassword, form)
        await resets.reset(body.token, body.new_password, visit.trail)
    except REFUSALS as error:
        return await visit.again("reset", error, token=token, email=email)
    return visit.site.pages.say(
        "Your password is set", "You are signed out everywhere. Sign in with it.", SIGN_IN, "Sign in", "good"
    )


@page
async def show_confirmation(visit: Visit, addresses: Addresses) -> Response:
    """Show the button that confirms an e-mail address. Opening the link does not use it up."""
    token, signed_in = token_of(visit.query), await _person_in(visit)
    try:
        email, is_allowed = await visit.site.database.read(addresses.look_at, token, signed_in)
    except Problem:
        return _dead(visit, SIGN_IN, "Sign in to request a new one")
    return visit.show("confirm", token=token, email=email, is_allowed=is_allowed)


@page
async def confirm_address(visit: Visit, addresses: Addresses) -> Response:
    """Confirm the e-mail address that the link was sent to."""
    form = await visit.form()
    try:
        confirm, person = addresses.confirm, await _person_in(visit)
        email, after = await visit.run(confirm, token_of(form), person, visit.trail)
    except SignInToConfirm as error:  # the session has ended since the page was opened
        await visit.trail.keep(refused_with=error.status)
        return visit.to(f"{CONFIRM}?{urlencode({'token': token_of(form)})}")
    except Problem as error:
        await visit.trail.keep(refused_with=error.status)
        return visit.site.pages.refuse("This link does not work", error.detail, error.status)
    onwards, label = (ACCOUNT, "Your account") if after is None else (_sign_in_before(after), "Sign in")
    words = f"{email} belongs to your account."
    return visit.site.pages.say("Your address is confirmed", words, onwards, label, "good")


@page
async def show_invitation(visit: Visit, links: Links) -> Response:
    """Show the form of an invitation."""
    token = token_of(visit.query)
    try:
        email = await visit.site.database.read(_email_of, links, (Purpose.INVITE,), token)
    except Problem:
        return _dead(visit, SIGN_IN, "Sign in")
    return visit.show("invitation", token=token, email=email, username="", fault=None)


@page
async def take_invitation(visit: Visit, links: Links, invitations: Invitations) -> Response:
    """Accept an invitation and create the account."""
    form = await visit.form()
    token = token_of(form)
    try:
        email = await visit.site.database.read(_email_of, links, (Purpose.INVITE,), token)
    except Problem as error:
        await visit.trail.keep(refused_with=error.status)
        return _dead(visit, SIGN_IN, "Sign in")
    try:
        await invitations.accept(read_as(AcceptInvitation, form), visit.trail)
    except REFUSALS as error:
        username = form.get("username", "")[:32]
        return await visit.again("invitation", error, token=token, email=email, username=username)
    return visit.site.pages.say("Your account is ready", f"Sign in as {email}.", SIGN_IN, "Sign in", "good")


@page
async def show_registration(visit: Visit) -> Response:
    """Show the registration form."""
    if visit.site.settings.registration == "closed":
        return visit.site.pages.say(
            "Registration is closed", "Ask an admin for an invitation.", SIGN_IN, "Sign in"
        )
    after = next_of(visit.query.get("next")) or ""
    return visit.show("register", next=after, email="", username="", fault=None)


@page
async def register_by_form(visit: Visit, registration: Registration) -> Response:
    """Create an account and sign in, or send a link that creates it."""
    form = await visit.form()
    after = next_of(form.get("next")) or ""

    def open_session(session: Session, account: Account) -> str:
        return visit.site.browsers.open(session, account, visit.cookie, device=visit.device)[1]

    try:
        body = read_as(Register, form)
        opened = await registration.register(body, visit.request, visit.trail, open_session, after=after)
    except REFUSALS as error:
        typed = {"email": form.get("email", "")[:254], "username": form.get("username", "")[:32]}
        return await visit.again("register", error, next=after, **typed)
    if opened is None:
        words = f"An e-mail to {body.email} says how to continue. Its link is valid for 24 hours."
        return visit.site.pages.say(_CHECK_MAIL, words, _sign_in_before(after), "Back to sign in")
    cookie, device_id = opened
    return visit.to(after or SIGN_IN, cookie, visit.site.devices.cookie(device_id))


@page
async def show_email_change(visit: Visit) -> Response:
    """Show the form for a new e-mail address."""
    browser = await visit.signed_in(EMAIL)
    return visit.account_page("change_email", browser, now=browser.account.email or "", email="", fault=None)


@page
async def change_email_by_form(visit: Visit, addresses: Addresses) -> Response:
    """Send a link to a new e-mail address; using it changes the account's address."""
    form = await visit.form()
    browser = await visit.signed_in(EMAIL)
    try:
        body = read_as(ChangeEmail, form)
        await addresses.ask_to_change(Person.of(browser), body.email, body.current_password, visit.trail)
    except REFUSALS as error:
        typed = {"now": browser.account.email or "", "email": form.get("email", "")[:254]}
        return await visit.account_again("change_email", browser, error, **typed)
    words = f"Your address changes once you confirm {body.email} with the link in the mail sent there."
    return visit.site.pages.say(_CHECK_MAIL, words, ACCOUNT, "Back to your account")


async def _person_in(visit: Visit) -> Person | None:
    browser = await visit.browser()
    return None if browser is None else Person.of(browser)


def _sign_in_before(after: str) -> str:
    return f"{SIGN_IN}?{urlencode({'next': after})}" if after else SIGN_IN


def _email_of(session: Session, links: Links, purposes: tuple[Purpose, ...], token: str) -> str:
    email: str = links.look_at(session, purposes, token).email
    return email


def _dead(visit: Visit, onwards: str, label: str) -> Response:
    return visit.site.pages.say("This link does not work", _DEAD, onwards, label, "bad", status=400)
