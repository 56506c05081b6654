"""Builds a mail: headers that no value can break, plain text, and HTML."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8, Policy

from services.notifications.mail.addresses import read_address
from services.notifications.mail.rendering import Rendered

LINE_BYTES_MAX = 900  # SMTP allows 998


class _UrlHeader(UnstructuredHeader):
    """A header with a URL, which must not be folded: the standard library would encode it as words."""

    name: str

    def fold(self, *, policy: Policy) -> str:
        return f"{self.name}: {self}{policy.linesep}"


_HEADERS = HeaderRegistry()
_HEADERS.map_to_type("list-unsubscribe", _UrlHeader)  # type: ignore[arg-type] # takes mix-ins as well


@dataclass(frozen=True, slots=True)
class Sender:
    """The sender of mails, and the address for replies."""

    address: str
    name: str
    reply_to: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A PDF in a mail. Its name is ours: letters, digits, hyphens and `.pdf`."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """A mail ready to be submitted: a name for files, its envelope, and its content as bytes and in parts."""

    name: str
    sender: str
    recipient: str
    content: bytes
    delivery_id: str
    sender_name: str
    reply_to: str
    subject: str
    text: str
    html: str
    headers: Mapping[str, str]
    attached: Attachment | None

    @property
    def needs_utf8(self) -> bool:
        """Whether the address can only be written with SMTPUTF8."""
        return not self.recipient.isascii()


def build(
    mail_id: str,
    template: str,
    to: str,
    created: datetime,
    rendered: Rendered,
    sender: Sender,
    *,
    unsubscribe: str | None = None,
    attached: Attachment | None = None,
) -> Message:
    """Build the mail; raise BadAddress if it cannot be addressed.

    Its Message-ID and its date depend on the delivery alone, so every attempt has the same.
    """
    recipient, own = Address("", *read_address(to)), Address(sender.name, *read_address(sender.address))
    policy = SMTP if recipient.username.isascii() else SMTPUTF8
    mail = EmailMessage(policy.clone(header_factory=_HEADERS))
    mail["From"], mail["To"] = own, recipient
    if sender.reply_to:
        mail["Reply-To"] = Address("", *read_address(sender.reply_to))
    mail["Subject"] = rendered.subject
    mail["Date"] = created
    headers = {"Message-ID": f"<{mail_id}@{own.domain}>", "Auto-Submitted": "auto-generated"}
    if unsubscribe is not None:
        headers["List-Unsubscribe"] = f"<{unsubscribe}>"
        headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    for name, value in headers.items():
        mail[name] = value
    mail.set_content(rendered.text, cte=_encoding(rendered.text))
    mail.add_alternative(rendered.html, subtype="html", cte="quoted-printable")
    mail.set_boundary(f"=_{mail_id}")
    if attached is not None:
        mail.add_attachment(attached.content, maintype="application", subtype="pdf", filename=attached.name)
        mail.set_boundary(f"=_{mail_id}_mixed")  # around the texts, which keep theirs
    return Message(
        f"{mail_id}-{template}",
        own.addr_spec,
        recipient.addr_spec,
        mail.as_bytes(),
        delivery_id=mail_id,
        sender_name=sender.name,
        reply_to=sender.reply_to,
        subject=str(mail["Subject"]),
        text=rendered.text,
        html=rendered.html,
        headers=headers,
        attached=attached,
    )


def _encoding(text: str) -> str:
    """Keep text readable as it is where possible, so that a link in it is not broken into lines."""
    is_plain = text.isascii() and all(len(line) <= LINE_BYTES_MAX for line in text.splitlines())
    return "7bit" if is_plain else "quoted-printable"
