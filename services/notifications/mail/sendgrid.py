"""Submits mails by SendGrid's API."""

import json
from base64 import b64encode
from typing import Any

from services.notifications.mail.messages import Message
from services.notifications.mail.transports import Away, Refused, Unheard
from services.notifications.settings import Settings
from shared.peers.outbound import Answer, BadAddress, CallFailed, Outbound

ANSWER_BYTES_MAX = 64 * 1024
DELIVERY = "delivery_id"  # SendGrid repeats it in each event about the mail
_NOT_SENT = frozenset(("unknown_host", "unreachable", "busy", "resting"))


class SendGrid:
    """The account of this installation at SendGrid."""

    def __init__(self, settings: Settings) -> None:
        self._url = f"{settings.sendgrid_url}/v3/mail/send"
        secret = settings.sendgrid_api_key.get_secret_value()
        self._headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
        self._outbound = Outbound(
            settings,
            "sendgrid",
            seconds_max=settings.mail_timeout_seconds,
            answer_bytes_max=ANSWER_BYTES_MAX,
            has_breaker=False,
        )

    async def send(self, message: Message) -> str | None:
        if message.needs_utf8:
            raise Refused("no_smtputf8", "SendGrid cannot deliver to an address with these letters")
        body = json.dumps(_content(message)).encode()
        try:
            answer = await self._outbound.call("POST", self._url, body=body, headers=self._headers)
        except BadAddress as error:
            raise Away("bad_address", str(error)) from error
        except CallFailed as error:
            if error.reason in _NOT_SENT:
                raise Away(error.reason, error.reason) from error
            raise Unheard(error.reason, error.reason) from error
        if not answer.is_success:
            _refuse(answer)
        sent = answer.headers.get("x-message-id", "")
        return provider_id(sent) if sent else None

    async def close(self) -> None:
        await self._outbound.close()


def provider_id(message_id: str) -> str:
    """Return what is stored of a mail's id; in events SendGrid adds to it after a dot."""
    return f"sendgrid:{message_id.partition('.')[0]}"[:100]


def _content(message: Message) -> dict[str, Any]:
    content: dict[str, Any] = {
        "personalizations": [
            {"to": [{"email": message.recipient}], "custom_args": {DELIVERY: message.delivery_id}}
        ],
        "from": {"email": message.sender, "name": message.sender_name},
        "subject": message.subject,
        "content": [
            {"type": "text/plain", "value": message.text},
            {"type": "text/html", "value": message.html},
        ],
        "headers": dict(message.headers),
        # Links give access to accounts: they must not lead through another server.
        "tracking_settings": {"click_tracking": {"enable": False}, "open_tracking": {"enable": False}},
    }
    if message.reply_to:
        content["reply_to"] = {"email": message.reply_to}
    if message.attached is not None:
        encoded = b64encode(message.attached.content).decode()
        attachment = {"content": encoded, "type": "application/pdf", "filename": message.attached.name}
        content["attachments"] = [attachment | {"disposition": "attachment"}]
    return content


def _refuse(answer: Answer) -> None:
    """Say what a response means that is not a success. After a 5xx the mail may have been accepted."""
    code, detail = f"status_{answer.status}", _detail(answer)
    if answer.status >= 500:
        raise Unheard(code, detail, retry_after=answer.retry_after)
    if answer.status == 429:
        raise Away("busy", detail, retry_after=answer.retry_after)
    if answer.status in (400, 413):
        raise Refused(code, detail)
    raise Away(code, detail)  # such as a wrong key: no mail is accepted


def _detail(answer: Answer) -> str:
    try:
        errors = json.loads(answer.body)["errors"]
        return "; ".join(str(one["message"]) for one in errors)[:500]
    except (ValueError, RecursionError, LookupError, TypeError):
        return f"status {answer.status}"
