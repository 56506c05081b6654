"""Sends text messages by Twilio's Messages API, and finds out whether one was sent."""

import json
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from services.notifications.breaker import Outcome
from services.notifications.reasons import Reason
from services.notifications.settings import Settings
from shared.peers.outbound import Answer, BadAddress, CallFailed, Outbound

ANSWER_BYTES_MAX = 1024 * 1024
LISTED = 200
SKEW = timedelta(minutes=2)  # between Twilio's clock and ours
TRIAL = "Sent from your Twilio trial account - "  # Twilio puts it before the text
_NOT_SENT = frozenset(("unknown_host", "unreachable", "busy", "resting"))
SUPPRESSED = {
    21211: Reason.INVALID,  # not a number
    21614: Reason.INVALID,  # not a mobile phone
    30005: Reason.INVALID,  # no longer in use
    30006: Reason.INVALID,  # a landline
    21610: Reason.UNSUBSCRIBED,  # its owner has sent STOP
}
DELIVERY = "delivery"  # the parameter of the URL for reports with our id


class TextTransport(Protocol):
    """Where text messages are submitted."""

    async def send(self, delivery_id: str, to: str, text: str) -> Outcome: ...

    async def find(self, to: str, text: str, since: datetime) -> "list[str] | Outcome":
        """Return the ids of messages with this text that were sent since then, or why that is not known."""

    async def close(self) -> None: ...


class Twilio:
    """The account of this installation at Twilio."""

    def __init__(self, settings: Settings) -> None:
        self._from, self._reports_url = settings.twilio_from_number, settings.twilio_reports_url
        account = quote(settings.twilio_account_sid, safe="")
        self._url = f"{settings.twilio_url}/2010-04-01/Accounts/{account}/Messages.json"
        secret = f"{settings.twilio_account_sid}:{settings.twilio_auth_token.get_secret_value()}"
        self._headers = {"Authorization": f"Basic {b64encode(secret.encode()).decode()}"}
        self._outbound = Outbound(
            settings,
            "sms",
            seconds_max=settings.sms_timeout_seconds,
            answer_bytes_max=ANSWER_BYTES_MAX,
            has_breaker=False,
        )

    async def send(self, delivery_id: str, to: str, text: str) -> Outcome:
        fields = {"To": to, "From": self._from, "Body": text}
        if self._reports_url:
            fields["StatusCallback"] = f"{self._reports_url}?{urlencode({DELIVERY: delivery_id})}"
        form = urlencode(fields).encode()
        headers = self._headers | {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            answer = await self._outbound.call("POST", self._url, body=form, headers=headers)
        except (BadAddress, CallFailed) as error:
            return _without_answer(error)
        if answer.is_success:
            sid = _fields(answer).get("sid")
            is_known = isinstance(sid, str) and 0 < len(sid) <= 100
            return Outcome("sent", provider_id=sid) if is_known else Outcome("unknown", "bad_response")
        return _refusal(answer)

    async def find(self, to: str, text: str, since: datetime) -> list[str] | Outcome:
        query = urlencode({"To": to, "From": self._from, "PageSize": LISTED})
        try:
            answer = await self._outbound.call("GET", f"{self._url}?{query}", headers=self._headers)
        except (BadAddress, CallFailed) as error:
            return Outcome("unknown", _without_answer(error).code)
        listed = _fields(answer).get("messages")
        if not answer.is_success or not isinstance(listed, list):
            return Outcome("unknown", f"status_{answer.status}", retry_after=answer.retry_after)
        return [*_sent(listed, text, since - SKEW)]

    async def close(self) -> None:
        await self._outbound.close()


def _without_answer(error: BadAddress | CallFailed) -> Outcome:
    if isinstance(error, BadAddress):
        return Outcome("away", "bad_address", str(error))
    return Outcome("away" if error.reason in _NOT_SENT else "unknown", error.reason)


def _refusal(answer: Answer) -> Outcome:
    """Say what a response means that is not a success. After a 5xx the message may have been sent."""
    code, detail = f"status_{answer.status}", None
    fields = _fields(answer)
    if isinstance(number := fields.get("code"), int):
        code, detail = f"twilio_{number}"[:50], str(fields.get("message"))
    if answer.status >= 500:
        return Outcome("unknown", code, detail, retry_after=answer.retry_after)
    if answer.status == 429:
        return Outcome("away", "busy", detail, retry_after=answer.retry_after)
    if answer.status != 400:  # such as a wrong token: no message is accepted
        return Outcome("away", code, detail)
    suppressed = SUPPRESSED.get(number) if isinstance(number, int) else None
    return Outcome("refused", code, detail, suppressed)


def _fields(answer: Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _sent(listed: list[Any], text: str, since: datetime) -> Iterator[str]:
    for one in listed:
        if not isinstance(one, dict) or one.get("body") not in (text, TRIAL + text):
            continue
        sid, made = one.get("sid"), _time(one.get("date_created"))
        if isinstance(sid, str) and 0 < len(sid) <= 100 and made is not None and made >= since:
            yield sid


def _time(text: Any) -> datetime | None:
    try:
        return parsedate_to_datetime(text).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None
