"""The handlers of the authorization endpoint, the consent page and the static files."""

from urllib.parse import urlencode, urlsplit

from sqlmodel import Session
from starlette.responses import Response

from services.auth.errors import NoIssuer
from services.auth.models import Account
from services.auth.oauth.authorization import AskForConsent, AskToSignIn, AskToStepUp, Outcome, Redirect
from services.auth.oauth.errors import PageError
from services.auth.oauth.server import OAuthServer
from services.auth.pages.forms import FORM_BYTES_MAX, see_other
from services.auth.pages.people import person_of, scopes_of
from services.auth.pages.render import HERE
from services.auth.pages.visit import SIGN_IN, STEP_UP, Visit, page
from services.auth.sessions.browser import SignedInBrowser
from shared.errors import BadRequest, NotFound
from shared.http.inputs import read_body
from shared.look import BASE, TOKENS

AUTHORIZE = "/oauth/authorize"
QUERY_CHARACTERS_MAX = 16 * 1024
STYLES = "pages.css"
ASSETS = {
    "tokens.css": "text/css",
    STYLES: "text/css",
    "icon.svg": "image/svg+xml",
    "passkeys.js": "text/javascript",
    "submit.js": "text/javascript",
}


async def show_asset(name: str) -> Response:
    """Show a style sheet, the script or the icon of the pages."""
    if name not in ASSETS:
        raise NotFound
    headers = {"Cache-Control": "public, max-age=300", "X-Content-Type-Options": "nosniff"}
    files = [TOKENS] if name == TOKENS.name else [HERE / "assets" / name]
    if name == STYLES:  # one request, though the console shares the first part
        files.insert(0, BASE)
    content = b"".join(file.read_bytes() for file in files)
    return Response(content, headers=headers, media_type=ASSETS[name])


@page
async def authorize(visit: Visit, server: OAuthServer) -> Response:
    """Let a person sign in to an app: the authorization endpoint of OAuth and OpenID Connect."""
    return await _authorize(visit, server, visit.request.scope["query_string"].decode("latin-1"))


@page
async def post_authorize(visit: Visit, server: OAuthServer) -> Response:
    """Let a person sign in to an app, with the parameters in a form."""
    return await _authorize(visit, server, (await read_body(visit.request, FORM_BYTES_MAX)).decode("latin-1"))


@page
async def answer_consent(visit: Visit, server: OAuthServer) -> Response:
    """Allow or deny an app's request: the form of the consent page."""
    form = await visit.form()
    answer = form.get("answer")
    if answer not in ("allow", "deny"):
        raise BadRequest("answer must be allow or deny.")
    return await _authorize(visit, server, form.get("request", ""), answer)


async def _authorize(visit: Visit, server: OAuthServer, query: str, answer: str | None = None) -> Response:
    pages = visit.site.pages
    if not server.issuer.url:
        raise NoIssuer
    if len(query) > QUERY_CHARACTERS_MAX:
        return pages.refuse(
            "This link is too long", "The app that sent you here used a link that is too long."
        )
    try:
        outcome, browser = await visit.run(_decide, visit, server, query, answer)
    except PageError as error:
        return pages.refuse("This link does not work", str(error))
    if isinstance(outcome, Redirect):
        return _back_to_the_app(visit, outcome)
    if isinstance(outcome, AskToSignIn):
        hint = {"hint": outcome.hint} if outcome.hint else {}
        return see_other(f"{SIGN_IN}?{urlencode({'next': f'{AUTHORIZE}?{outcome.query}', **hint})}")
    if isinstance(outcome, AskToStepUp):
        factors = {"factors": "2"} if outcome.needs_factor else {}
        return see_other(f"{STEP_UP}?{urlencode({'next': f'{AUTHORIZE}?{outcome.query}', **factors})}")
    assert browser is not None
    return _consent_page(visit, outcome, browser.account, query)


def _back_to_the_app(visit: Visit, outcome: Redirect) -> Response:
    if outcome.fields is None:
        return see_other(outcome.url)
    return visit.show("form_post", action=outcome.url, fields=outcome.fields)


def _decide(
    session: Session, visit: Visit, server: OAuthServer, query: str, answer: str | None
) -> tuple[Outcome, SignedInBrowser | None]:
    browser, trail = visit.site.browsers.find(session, visit.cookie), visit.trail
    outcome = server.authorization.decide(server.storage(session), query, browser, answer)
    trail.user_id = browser.account.id if browser is not None else None
    if isinstance(outcome, Redirect):
        trail.add(outcome=outcome.error or "code")
        trail.write(session)
    else:
        trail.is_written = True  # nothing to record yet
    return outcome, browser


def _consent_page(visit: Visit, asked: AskForConsent, account: Account, query: str) -> Response:
    parts = urlsplit(asked.redirect_uri)
    place = parts.netloc or f"{parts.scheme}:"
    return visit.show(
        "consent",
        app=asked.client.name,
        place=place,
        person=person_of(account),
        scopes=scopes_of(asked.scopes),
        request=query,
    )
