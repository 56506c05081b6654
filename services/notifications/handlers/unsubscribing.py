"""The page that ends the mails of one type, and what mail programs call for one click (RFC 8058)."""

import html
from typing import Annotated

from pydantic import Field
from sqlmodel import Session
from starlette.responses import HTMLResponse, Response

from services.notifications import unsubscribing
from services.notifications.kinds import KINDS
from services.notifications.mail.layout import page
from services.notifications.mail.templates import DIGEST
from services.notifications.unsubscribing import PATH, Links
from shared.events import Trail
from shared.http.schemas import Query

_EVERYTHING = "Everything that can be switched off. Mails about your security still arrive."
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}


class UnsubscribeQuery(Query):
    token: Annotated[str, Field(max_length=200, description="The token of the link in the mail.")]


def show_unsubscribing(query: UnsubscribeQuery, links: Links) -> Response:
    """Ask whether to end these mails. A program that only opens the link changes nothing."""
    found = links.read(query.token)
    if found is None:
        return _broken()
    kind = found[1]
    about = html.escape(_EVERYTHING if kind is None else KINDS[kind].description)
    action = f"{PATH}?token={html.escape(query.token, quote=True)}"
    form = f'<form method="post" action="{action}"><p><button class="button">Unsubscribe</button></p></form>'
    return _shown("Unsubscribe", f"<p>Stop receiving mails about: {about}</p>{form}")


def unsubscribe(query: UnsubscribeQuery, links: Links, session: Session, trail: Trail) -> Response:
    """End these mails: by the button of the page, or by one click in a mail program."""
    found = links.read(query.token)
    if found is None:
        return _broken()
    user_id, kind = found
    trail.user_id, trail.resource = user_id, user_id
    trail.add(type=kind or DIGEST)
    unsubscribing.unsubscribe(session, user_id, kind)
    return _shown("You are unsubscribed", "<p>You will receive no more mails of this kind.</p>")


def _broken() -> Response:
    return _shown("This link does not work", "<p>Change your preferences after signing in.</p>", 410)


def _shown(title: str, content: str, status: int = 200) -> Response:
    return HTMLResponse(page(title, content, "Gatehouse"), status, _HEADERS)
