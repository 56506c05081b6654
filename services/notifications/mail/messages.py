"""Builds a mail: headers that no value can break, plain text, and HTML."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.utils import format_datetime

from services.notifications.mail import mime
from services.notifications.mail.addresses import read_address
from services.notifications.mail.rendering import Rendered


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
    recipient, own = read_address(to), read_address(sender.address)
    sender_address = Address("", *own).addr_spec
    headers = {"Message-ID": f"<{mail_id}@{own[1]}>", "Auto-Submitted": "auto-generated"}
    if unsubscribe is not None:
        headers["List-Unsubscribe"] = f"<{unsubscribe}>"
        headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    is_utf8 = not recipient[0].isascii()
    head = [
        mime.address("From", sender.name, *own, is_utf8=is_utf8),
        mime.address("To", "", *recipient, is_utf8=is_utf8),
    ]
    if sender.reply_to:
        head.append(mime.address("Reply-To", "", *read_address(sender.reply_to), is_utf8=is_utf8))
    head.append(mime.words("Subject", rendered.subject, is_utf8=is_utf8))
    head.append(mime.plain("Date", format_datetime(created)))
    head += [mime.plain(name, value) for name, value in headers.items()]
    head.append(mime.plain("MIME-Version", "1.0"))
    return Message(
        f"{mail_id}-{template}",
        sender_address,
        Address("", *recipient).addr_spec,
        b"".join(head) + _body(mail_id, rendered, attached),
        delivery_id=mail_id,
        sender_name=sender.name,
        reply_to=sender.reply_to,
        subject=rendered.subject,
        text=rendered.text,
        html=rendered.html,
        headers=headers,
        attached=attached,
    )


def _body(mail_id: str, rendered: Rendered, attached: Attachment | None) -> bytes:
    texts = [
        mime.text_part(rendered.text, "plain", is_plain_kept=True),
        mime.text_part(rendered.html, "html"),
    ]
    body = mime.multipart("alternative", f"=_{mail_id}", texts)
    if attached is None:
        return body
    file = mime.pdf_part(attached.name, attached.content)
    return mime.multipart("mixed", f"=_{mail_id}_mixed", [body, file])
