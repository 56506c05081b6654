"""The pages for registration, address confirmation, forgotten passwords and invitations."""

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from services.auth.credentials.devices import Devices
from services.auth.lifecycle.addresses import CONFIRMED_BY, Addresses
from services.auth.lifecycle.invitations import Invitations
from services.auth.lifecycle.registration import Registration
from services.auth.lifecycle.requests import MailRequests
from services.auth.lifecycle.resets import PasswordResets
from services.auth.lifecycle.schemas import AcceptInvitation, ChangeEmail, ForgotPassword, ResetPassword
from services.auth.mails.links import Links, Purpose
from services.auth.models import Account
from services.auth.pages.forms import FormFault, fault_of, own_form, query_of, read_as, see_other, token_of
from services.auth.pages.render import Pages
from services.auth.schemas import Register
from services.auth.sessions.browser import BrowserSessions
from services.auth.sessions.sign_in import household_of
from services.auth.settings import Settings
from shared.data.database import Database
from shared.errors import Problem
from shared.events import Trail
from shared.process.proxies import Proxies

SIGN_IN = "/auth/signin"
SERVER_ERROR = 500
_REFUSALS = (FormFault, Problem)
_CHECK_MAIL = "Check your mail"
_DEAD = "It is invalid, expired or already used, or a newer one was sent to you. Nothing was changed."


async def show_forgotten(pages: Pages) -> Response:
    """Show the form for a forgotten password."""
    return pages.show("forgotten", email="", fault=None)


async def send_forgotten(
    request: Request,
    settings: Settings,
    database: Database,
    asked: MailRequests,
    proxies: Proxies,
    pages: Pages,
    trail: Trail,
) -> Response:
    """Send a link that sets a new password. The page is the same for every address."""
    form = await own_form(request, settings)
    try:
        email = read_as(ForgotPassword, form).email
        await database.run(_ask_for_link, asked, household_of(request, proxies), email, trail)
    except _REFUSALS as error:
        return await _again(pages, "forgotten", error, trail, email=form.get("email", "")[:254])
    return pages.say(
        _CHECK_MAIL,
        f"If {email} has an account here, a link to choose a new password is on its way. It is valid for "
        "30 minutes.",
        SIGN_IN,
        "Back to sign in",
    )


def _ask_for_link(session: Session, asked: MailRequests, household: str, email: str, trail: Trail) -> None:
    asked.ask(session, household, email)
    trail.write(session)


async def show_reset(request: Request, database: Database, links: Links, pages: Pages) -> Response:
    """Show the form for a new password. Opening the link does not use it up."""
    token = token_of(query_of(request))
    try:
        email = await database.read(_email_of, links, (Purpose.RESET,), token)
    except Problem:
        return _dead(pages, "/auth/forgot", "Send a new link")
    return pages.show("reset", token=token, email=email, fault=None)


async def set_password(
    request: Request,
    settings: Settings,
    database: Database,
    links: Links,
    resets: PasswordResets,
    pages: Pages,
    trail: Trail,
) -> Response:
    """Set the new password. The person then signs in with it."""
    form = await own_form(request, settings)
    token = token_of(form)
    try:
        email = await database.read(_email_of, links, (Purpose.RESET,), token)
    except Problem as error:
        await trail.keep(refused_with=error.status)
        return _dead(pages, "/auth/forgot", "Send a new link")
    try:
        body = read_as(ResetPassword, form)
        await resets.reset(body.token, body.new_password, trail)
    except _REFUSALS as error:
        return await _again(pages, "reset", error, trail, token=token, email=email)
    return pages.say(
        "Your password is set", "You are signed out everywhere. Sign in with it.", SIGN_IN, "Sign in", "good"
    )


async def show_confirmation(request: Request, database: Database, links: Links, pages: Pages) -> Response:
    """Show the button that confirms an e-mail address. Opening the link does not use it up."""
    token = token_of(query_of(request))
    try:
        email = await database.read(_email_of, links, CONFIRMED_BY, token)
    except Problem:
        return _dead(pages, SIGN_IN, "Sign in to request a new one")
    return pages.show("confirm", token=token, email=email)


async def confirm_address(
    request: Request, settings: Settings, database: Database, addresses: Addresses, pages: Pages, trail: Trail
) -> Response:
    """Confirm the e-mail address that the link was sent to."""
    form = await own_form(request, settings)
    try:
        email = await database.run(addresses.confirm, token_of(form), trail)
    except Problem as error:
        await trail.keep(refused_with=error.status)
        return pages.refuse("This link does not work", error.detail, error.status)
    return pages.say(
        "Your address is confirmed", f"{email} belongs to your account.", SIGN_IN, "Sign in", "good"
    )


async def show_invitation(request: Request, database: Database, links: Links, pages: Pages) -> Response:
    """Show the form of an invitation."""
    token = token_of(query_of(request))
    try:
        email = await database.read(_email_of, links, (Purpose.INVITE,), token)
    except Problem:
        return _dead(pages, SIGN_IN, "Sign in")
    return pages.show("invitation", token=token, email=email, username="", fault=None)


async def take_invitation(
    request: Request,
    settings: Settings,
    database: Database,
    links: Links,
    invitations: Invitations,
    pages: Pages,
    trail: Trail,
) -> Response:
    """Accept an invitation and create the account."""
    form = await own_form(request, settings)
    token = token_of(form)
    try:
        email = await database.read(_email_of, links, (Purpose.INVITE,), token)
    except Problem as error:
        await trail.keep(refused_with=error.status)
        return _dead(pages, SIGN_IN, "Sign in")
    try:
        await invitations.accept(read_as(AcceptInvitation, form), trail)
    except _REFUSALS as error:
        username = form.get("username", "")[:32]
        return await _again(pages, "invitation", error, trail, token=token, email=email, username=username)
    return pages.say("Your account is ready", f"Sign in as {email}.", SIGN_IN, "Sign in", "good")


async def show_registration(settings: Settings, pages: Pages) -> Response:
    """Show the registration form."""
    if settings.registration == "closed":
        return pages.say("Registration is closed", "Ask an admin for an invitation.", SIGN_IN, "Sign in")
    return pages.show("register", email="", username="", fault=None)


async def register_by_form(
    request: Request,
    settings: Settings,
    registration: Registration,
    browsers: BrowserSessions,
    devices: Devices,
    pages: Pages,
    trail: Trail,
) -> Response:
    """Create an account and sign in, or send a link that creates it."""
    form = await own_form(request, settings)
    before = request.cookies.get(browsers.cookie_name)

    def open_session(session: Session, account: Account) -> str:
        return browsers.open(session, account, before)[1]

    try:
        body = read_as(Register, form)
        opened = await registration.register(body, request, trail, open_session)
    except _REFUSALS as error:
        typed = {"email": form.get("email", "")[:254], "username": form.get("username", "")[:32]}
        return await _again(pages, "register", error, trail, **typed)
    if opened is None:
        words = f"A mail to {body.email} says how to continue. Its link is valid for 24 hours."
        return pages.say(_CHECK_MAIL, words, SIGN_IN, "Back to sign in")
    cookie, device_id = opened
    response = see_other(SIGN_IN)
    response.headers.append("set-cookie", cookie)
    response.headers.append("set-cookie", devices.cookie(device_id))
    return response


async def show_email_change(
    request: Request, database: Database, browsers: BrowserSessions, pages: Pages
) -> Response:
    """Show the form for a new e-mail address."""
    browser = await database.run(browsers.find, request.cookies.get(browsers.cookie_name))
    if browser is None:
        return see_other(SIGN_IN)
    return pages.show("change_email", now=browser.account.email or "", email="", fault=None)


async def change_email_by_form(
    request: Request,
    settings: Settings,
    database: Database,
    browsers: BrowserSessions,
    addresses: Addresses,
    pages: Pages,
    trail: Trail,
) -> Response:
    """Send a link to a new e-mail address; using it changes the account's address."""
    form = await own_form(request, settings)
    browser = await database.run(browsers.find, request.cookies.get(browsers.cookie_name))
    if browser is None:
        return see_other(SIGN_IN)
    account = browser.account
    trail.user_id = trail.resource = account.id
    try:
        body = read_as(ChangeEmail, form)
        await addresses.ask_to_change(
            account.id, browser.session_id, body.email, body.current_password, trail
        )
    except _REFUSALS as error:
        typed = {"now": account.email or "", "email": form.get("email", "")[:254]}
        return await _again(pages, "change_email", error, trail, **typed)
    words = f"Your address changes once you confirm {body.email} with the link in the mail sent there."
    return pages.say(_CHECK_MAIL, words, SIGN_IN, "Back")


def _email_of(session: Session, links: Links, purposes: tuple[Purpose, ...], token: str) -> str:
    email: str = links.look_at(session, purposes, token).email
    return email


def _dead(pages: Pages, onwards: str, label: str) -> Response:
    return pages.say("This link does not work", _DEAD, onwards, label, "bad", status=400)


async def _again(
    pages: Pages, page: str, error: FormFault | Problem, trail: Trail, **values: str
) -> Response:
    """Show the form again with the fault; server errors are raised, as the person cannot fix them."""
    if isinstance(error, Problem) and error.status >= SERVER_ERROR:
        raise error
    if not trail.is_written:
        await trail.keep(refused_with=error.status)
    response = pages.show(page, error.status, fault=fault_of(error), **values)
    if isinstance(error, Problem):
        response.headers.update(error.headers)
    return response
