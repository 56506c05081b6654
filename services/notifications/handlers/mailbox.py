"""The mailbox of development: pages of the mails that were written to a folder."""

import asyncio
from typing import Annotated

from pydantic import StringConstraints
from starlette.responses import HTMLResponse, Response

from services.notifications.mail.mailbox import NAME, Mailbox, list_page, mail_page
from services.notifications.settings import Settings
from shared.caller import Caller
from shared.errors import Forbidden, NotFound
from shared.words import pattern

MailName = Annotated[
    str, StringConstraints(pattern=pattern(NAME, "must be the name of a mail in the mailbox"))
]
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}


async def show_mailbox(caller: Caller, settings: Settings) -> Response:
    """Show the newest 100 mails, in development only; for admins in person, as mails have secret links."""
    return HTMLResponse(await asyncio.to_thread(list_page, _mailbox(caller, settings)), headers=_HEADERS)


async def show_mail(mail_name: MailName, caller: Caller, settings: Settings) -> Response:
    """Show one mail of the mailbox: its text, its links and its HTML."""
    mail = await asyncio.to_thread(_mailbox(caller, settings).find, mail_name)
    if mail is None:
        raise NotFound
    return HTMLResponse(mail_page(mail), headers=_HEADERS)


def _mailbox(caller: Caller, settings: Settings) -> Mailbox:
    if settings.mailbox is None:
        raise NotFound("Only in development, with MAIL_TRANSPORT=file, are mails kept in a mailbox.")
    if not caller.is_admin:
        raise Forbidden
    return Mailbox(settings.mailbox)
