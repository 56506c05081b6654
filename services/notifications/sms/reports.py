"""What Twilio reports about text messages after it accepted them: signed, with our id in the URL."""

import base64
import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from sqlalchemy import select
from sqlmodel import Session

from services.notifications.deliveries import State
from services.notifications.errors import BadReport, BadSignature
from services.notifications.kinds import Channel
from services.notifications.models import DELIVERIES, ID_CHARACTERS
from services.notifications.settings import Settings
from services.notifications.sms.messages import TextMessages
from services.notifications.sms.twilio import DELIVERY, SUPPRESSED
from shared.data.database import one_row

FIELDS_MAX = 200
_SID = re.compile(r"[A-Za-z0-9]{1,64}")
_CODE = re.compile(r"[0-9]{1,6}")
_FAILED = ("undelivered", "failed")
_DELIVERED = ("delivered", "read")


@dataclass(frozen=True, slots=True)
class Report:
    """The state of one message; `error` is Twilio's number of it."""

    delivery_id: str
    sid: str
    status: str
    error: int | None


class Reports:
    """Checks and applies the reports of Twilio."""

    def __init__(self, settings: Settings, messages: TextMessages) -> None:
        self._messages, self._url = messages, settings.twilio_reports_url
        self._key = settings.twilio_auth_token.get_secret_value().encode()

    @property
    def is_on(self) -> bool:
        return bool(self._url)

    def read(self, query: str, body: bytes, signature: str) -> Report:
        """Return the report of a call; raise BadSignature if it is not Twilio's."""
        try:
            fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX)
            named = dict(parse_qsl(query, max_num_fields=FIELDS_MAX))
        except ValueError as error:
            raise BadReport from error
        self._check(query, fields, signature)
        told = dict(fields)
        sid, error_code = told.get("MessageSid", ""), told.get("ErrorCode", "")
        if _SID.fullmatch(sid) is None:
            raise BadReport
        number = int(error_code) if _CODE.fullmatch(error_code) else None
        return Report(named.get(DELIVERY, ""), sid, told.get("MessageStatus", ""), number)

    def _check(self, query: str, fields: list[tuple[str, str]], signature: str) -> None:
        """Check the signature of Twilio: HMAC-SHA1 over the URL and all fields in order of their names."""
        told = "".join(name + value for name, value in sorted({*fields}))
        for url in _spellings(self._url):
            signed = hmac.digest(self._key, f"{url}?{query}{told}".encode(), "sha1")
            if hmac.compare_digest(base64.b64encode(signed), signature.encode(errors="replace")):
                return
        raise BadSignature

    def apply(self, session: Session, report: Report) -> dict[str, Any]:
        """Note the report, which may be repeated or late; a number that does not exist is suppressed."""
        if not 0 < len(report.delivery_id) <= ID_CHARACTERS or "\0" in report.delivery_id:
            return {}
        mine = DELIVERIES.c.id == report.delivery_id, DELIVERIES.c.channel == Channel.SMS
        row = one_row(session, select(DELIVERIES.c.id, DELIVERIES.c.to_hash).where(*mine))
        if row is None:  # of an account that was deleted
            return {}
        self._messages.accepted(session, row["id"], report.sid)  # whatever became of it
        if report.status in _DELIVERED:
            self._messages.reported(session, row["id"], State.DELIVERED, None, None)
        elif report.status in _FAILED:
            self._fail(session, row, report)
        return {"status": report.status[:20]}

    def _fail(self, session: Session, row: dict[str, Any], report: Report) -> None:
        code = report.status if report.error is None else f"twilio_{report.error}"
        is_new = self._messages.reported(session, row["id"], State.FAILED, code, None)
        reason = None if report.error is None else SUPPRESSED.get(report.error)
        if is_new and reason is not None:
            self._messages.suppressions.add_hash(session, Channel.SMS, row["to_hash"], reason)


def _spellings(url: str) -> Iterator[str]:
    """Yield a URL with and without the port of HTTPS: Twilio signs one or the other."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    yield url
    if parts.port is None:
        yield parts._replace(netloc=f"{host}:443").geturl()
    else:
        yield parts._replace(netloc=host.rpartition(":")[0]).geturl()
