"""Reads the mails that development writes to a folder, and shows them as pages."""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from services.notifications.mail.layout import page

PATH = "/notifications/dev/mailbox"
NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,119}$"
SHOWN_MAX = 100
_FOOT = "Only in development."
_SUFFIX = ".eml"
_LINK = re.compile(r"https?://[^\s<>\"]+")


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A folder of mails, named by ids that begin with the time."""

    folder: Path

    def newest(self) -> Iterator[tuple[str, EmailMessage]]:
        """Yield the newest mails with their names, newest first."""
        files = sorted(self.folder.glob(f"*{_SUFFIX}"), reverse=True)[:SHOWN_MAX]
        for name in (file.name.removesuffix(_SUFFIX) for file in files):
            mail = self.find(name)
            if mail is not None:  # otherwise it was deleted meanwhile, because there are newer ones
                yield name, mail

    def find(self, name: str) -> EmailMessage | None:
        """Return a mail; names are checked, so that no other file can be named."""
        if re.fullmatch(NAME, name) is None:
            return None
        try:
            content = (self.folder / f"{name}{_SUFFIX}").read_bytes()
        except FileNotFoundError:
            return None
        mail = message_from_bytes(content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        return mail


def list_page(mailbox: Mailbox) -> str:
    """Return the page that lists the newest mails."""
    rows = [
        f'<p><a href="{PATH}/{name}">{_head(mail, "Subject")}</a><br>'
        f"to {_head(mail, 'To')}, {_head(mail, 'Date')}</p>"
        for name, mail in mailbox.newest()
    ]
    return page("Mailbox", "".join(rows) or "<p>No mail was sent yet.</p>", _FOOT)


def mail_page(mail: EmailMessage) -> str:
    """Return the page of one mail: its text, its links, and its HTML in a frame that can do nothing."""
    text = _part(mail, "plain")
    links = [
        f'<p><a href="{html.escape(link)}" rel="noreferrer">{html.escape(link)}</a></p>'
        for link in dict.fromkeys(_LINK.findall(text))
    ]
    files = [html.escape(one.get_filename() or "a file") for one in mail.iter_attachments()]
    frame = html.escape(_part(mail, "html"))
    content = [
        f"<p>From {_head(mail, 'From')}<br>to {_head(mail, 'To')}<br>{_head(mail, 'Date')}</p>",
        f'<p style="white-space:pre-wrap">{html.escape(text)}</p>',
        *links,
        *(f"<p>With {one}</p>" for one in files),
        f'<iframe sandbox title="HTML" srcdoc="{frame}" width="100%" height="600" frameborder="0"></iframe>',
        f'<p><a href="{PATH}">All mails</a></p>',
    ]
    return page(str(mail["Subject"]), "".join(content), _FOOT)


def _head(mail: EmailMessage, name: str) -> str:
    return html.escape(str(mail[name] or ""))


def _part(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    return "" if part is None else str(part.get_content())
