"""The handlers of the account pages: names, password, sessions, apps, deletion."""

from sqlmodel import Session
from starlette.responses import Response

from services.auth.factors.factors import Factors
from services.auth.own_account.deletion import OwnDeletion
from services.auth.own_account.own_sessions import apps_of, disconnect_app_of, end_session_of, sessions_of
from services.auth.own_account.password_change import PasswordChange
from services.auth.own_account.profile import OwnProfile
from services.auth.own_account.schemas import ChangeNames
from services.auth.pages.forms import REFUSALS, id_of, page_query_of, read_as
from services.auth.pages.people import scopes_of, ways_in_words
from services.auth.pages.visit import ACCOUNT, SIGN_IN, Visit, page
from services.auth.schemas import ChangePassword, ConnectedAppOut, CurrentPassword
from services.auth.sessions.own_password import Person
from services.auth.sessions.sessions import Sessions
from shared.errors import NotFound

PASSWORD, SESSIONS, APPS = f"{ACCOUNT}/password", f"{ACCOUNT}/sessions", f"{ACCOUNT}/apps"
SECURITY, DELETION = f"{ACCOUNT}/security", f"{ACCOUNT}/delete"
_NAMES = ("username", "first_name", "last_name")


@page
async def show_profile(visit: Visit) -> Response:
    """Show your names."""
    browser = await visit.signed_in()
    names = {name: getattr(browser.account, name) or "" for name in _NAMES}
    return visit.account_page("account_profile", browser, account=browser.account, fault=None, **names)


@page
async def change_names(visit: Visit, profile: OwnProfile) -> Response:
    """Change your names."""
    form = await visit.form()
    browser = await visit.signed_in()
    try:
        names = read_as(ChangeNames, form)
        await visit.run(profile.change, Person.of(browser), names, visit.trail)
    except REFUSALS as error:
        typed = {name: form.get(name, "")[:100] for name in _NAMES}
        return await visit.account_again("account_profile", browser, error, account=browser.account, **typed)
    return visit.to(f"{ACCOUNT}?done=names")


@page
async def show_security(visit: Visit, factors: Factors) -> Response:
    """Show how you sign in to your account."""
    browser = await visit.signed_in(SECURITY)
    methods = await visit.site.database.read(factors.methods_of, browser.account.id)
    has_password = browser.account.password_hash is not None
    return visit.account_page("account_security", browser, has_password=has_password, methods=methods)


@page
async def show_password_change(visit: Visit) -> Response:
    """Show the form for a new password."""
    browser = await visit.signed_in(PASSWORD)
    return visit.account_page("account_password", browser, fault=None)


@page
async def change_password_by_form(visit: Visit, change: PasswordChange) -> Response:
    """Change your password and end all your other sessions."""
    form = await visit.form()
    browser = await visit.signed_in(PASSWORD)
    try:
        body = read_as(ChangePassword, form)
        person = Person.of(browser)
        await change.change(person, body.current_password, body.new_password, visit.device_id, visit.trail)
    except REFUSALS as error:
        return await visit.account_again("account_password", browser, error)
    return visit.to(f"{SECURITY}?done=password")


@page
async def show_sessions(visit: Visit) -> Response:
    """Show where you are signed in."""
    browser = await visit.signed_in(SESSIONS)
    listed = await visit.site.database.read(sessions_of, Person.of(browser), page_query_of(visit.query))
    shown = [{"session": one, "ways": ways_in_words(one.amr)} for one in listed.items]
    return visit.account_page("account_sessions", browser, sessions=shown, next=listed.next)


@page
async def end_session_by_form(visit: Visit, sessions: Sessions) -> Response:
    """End one of your sessions and what it granted to apps."""
    form = await visit.form()
    browser = await visit.signed_in(SESSIONS)
    person, session_id = Person.of(browser), id_of(form, "session_id")
    visit.trail.resource = session_id
    try:
        await visit.run(_end_session, visit, person, session_id, sessions)
    except NotFound:  # it ended in the meantime
        await visit.trail.keep(refused_with=NotFound.status)
    if session_id == browser.session_id:
        return visit.to(SIGN_IN, visit.site.browsers.forget())
    return visit.to(f"{SESSIONS}?done=session")


def _end_session(session: Session, visit: Visit, person: Person, session_id: str, sessions: Sessions) -> None:
    end_session_of(session, person, session_id, sessions)
    visit.trail.write(session)


@page
async def show_apps(visit: Visit) -> Response:
    """Show the apps that you have authorized."""
    browser = await visit.signed_in(APPS)
    listed = await visit.site.database.read(apps_of, Person.of(browser), page_query_of(visit.query))
    shown = [_shown(app) for app in listed.items]
    return visit.account_page("account_apps", browser, apps=shown, next=listed.next)


def _shown(app: ConnectedAppOut) -> dict[str, object]:
    return {"app": app, "scopes": scopes_of(frozenset(app.scopes))}


@page
async def disconnect_app_by_form(visit: Visit, sessions: Sessions) -> Response:
    """Disconnect an app and end its grants."""
    form = await visit.form()
    browser = await visit.signed_in(APPS)
    client_id = visit.trail.resource = id_of(form, "client_id")
    try:
        await visit.run(_disconnect, visit, Person.of(browser), client_id, sessions)
    except NotFound:
        await visit.trail.keep(refused_with=NotFound.status)
    return visit.to(f"{APPS}?done=app")


def _disconnect(session: Session, visit: Visit, person: Person, client_id: str, sessions: Sessions) -> None:
    disconnect_app_of(session, person, client_id, sessions)
    visit.trail.write(session)


@page
async def show_deletion(visit: Visit) -> Response:
    """Show what deleting your account means, and the form for it."""
    browser = await visit.signed_in_recently(DELETION)
    return visit.account_page("account_delete", browser, fault=None)


@page
async def delete_account_by_form(visit: Visit, deletion: OwnDeletion) -> Response:
    """Delete your account permanently."""
    form = await visit.form()
    browser = await visit.signed_in_recently(DELETION)
    try:
        body = read_as(CurrentPassword, form)
        await deletion.delete(Person.of(browser), body.current_password, visit.trail)
    except REFUSALS as error:
        return await visit.account_again("account_delete", browser, error)
    words = (
        "You are signed out everywhere. The other services delete what they store about you within moments."
    )
    response = visit.site.pages.say(
        "Your account is deleted", words, SIGN_IN, "Go to the sign-in page", "good"
    )
    response.headers.append("set-cookie", visit.site.browsers.forget())
    return response
