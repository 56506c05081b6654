"""What SendGrid reports about mails that it accepted: signed, and repeated until we confirm it."""

import base64
import binascii
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA256
from sqlalchemy import select
from sqlmodel import Session

from services.notifications.errors import BadEvents, BadSignature
from services.notifications.kinds import Channel
from services.notifications.mail.addresses import BadAddress, read_address
from services.notifications.mail.keys import sendgrid_key
from services.notifications.mail.mails import Mails
from services.notifications.mail.sendgrid import DELIVERY, provider_id
from services.notifications.models import DELIVERIES, ID_CHARACTERS, PROVIDER_EVENTS
from services.notifications.reasons import Reason
from services.notifications.settings import Settings
from shared.clock import now
from shared.data.database import insert_into

SKEW_SECONDS = 300
EVENTS_MAX = 5_000
EVENTS_KEPT = timedelta(days=30)
ID_CHARACTERS_MAX = 100
_DROPPED = {
    "Bounced Address": Reason.BOUNCE,
    "Spam Reporting Address": Reason.COMPLAINT,
    "Unsubscribed Address": Reason.UNSUBSCRIBED,
    "Invalid": Reason.INVALID,
}
_REASONS = {
    "spamreport": Reason.COMPLAINT,
    "unsubscribe": Reason.UNSUBSCRIBED,
    "group_unsubscribe": Reason.UNSUBSCRIBED,
}
_FAILED = ("bounce", "dropped")
_ACCEPTED = ("processed", "delivered", "deferred", "bounce")


class ProviderEvents:
    """Checks and applies the events of SendGrid."""

    def __init__(self, settings: Settings, mails: Mails) -> None:
        self._mails = mails
        self._key = sendgrid_key(settings.sendgrid_webhook_key) if settings.sendgrid_webhook_key else None

    @property
    def is_on(self) -> bool:
        return self._key is not None

    def read(self, body: bytes, signature: str, timestamp: str) -> list[dict[str, Any]]:
        """Return the events of a call; raise BadSignature if it is not SendGrid's, or too old."""
        self._check(body, signature, timestamp)
        try:
            events = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BadEvents from error
        if not isinstance(events, list) or len(events) > EVENTS_MAX:
            raise BadEvents
        if not all(isinstance(one, dict) and _id(one) is not None for one in events):
            raise BadEvents
        return events

    def _check(self, body: bytes, signature: str, timestamp: str) -> None:
        """Check the signature. It is public-key cryptography, so there is no secret to compare with."""
        assert self._key is not None
        try:
            signed = base64.b64decode(signature, validate=True)
            self._key.verify(signed, timestamp.encode() + body, ECDSA(SHA256()))
        except (binascii.Error, ValueError, InvalidSignature) as error:
            raise BadSignature from error
        is_number = timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12
        if not is_number or abs(time.time() - int(timestamp)) > SKEW_SECONDS:
            raise BadSignature("The timestamp is more than five minutes from the time of this server.")

    def apply(self, session: Session, events: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        """Apply those that are new; return how many there were, and how many suppressed an address."""
        # What no database stores cannot be ours, and must not hold up the events of others.
        fresh = _first_seen(session, [one for one in events if _is_storable(one["sg_event_id"])])
        # In the order of the rows that they lock, so that two calls at once do not wait for each other.
        by_address = sorted(fresh, key=lambda one: str(one.get("email")))
        suppressed = sum(self._suppress(session, one) for one in by_address)
        known = self._deliveries(session, fresh)
        for one in sorted(fresh, key=lambda one: str(one.get(DELIVERY))):
            if (delivery_id := known.get(str(one.get(DELIVERY)))) is not None:
                self._note(session, delivery_id, one)
        return {"events": len(fresh), "suppressed": suppressed}

    def _suppress(self, session: Session, event: Mapping[str, Any]) -> bool:
        reason, email = reason_of(event), event.get("email")
        if reason is None or not isinstance(email, str) or not _is_storable(email):
            return False
        try:
            read_address(email)
        except BadAddress:
            return False
        self._mails.suppressions.add(session, Channel.EMAIL, email, reason)
        return True

    def _deliveries(self, session: Session, events: Iterable[Mapping[str, Any]]) -> dict[str, str]:
        """Return the ids of our mails that the events are about; others use the same account."""
        named = {one for event in events if isinstance(one := event.get(DELIVERY), str)}
        wanted = {one for one in named if len(one) <= ID_CHARACTERS and _is_storable(one)}
        mine = DELIVERIES.c.id.in_(wanted), DELIVERIES.c.channel == Channel.EMAIL
        found = session.connection().execute(select(DELIVERIES.c.id).where(*mine).order_by(DELIVERIES.c.id))
        return {one: one for one in found.scalars()}

    def _note(self, session: Session, delivery_id: str, event: Mapping[str, Any]) -> None:
        kind, message_id = event.get("event"), event.get("sg_message_id")
        if kind in _ACCEPTED and isinstance(message_id, str) and message_id and _is_storable(message_id):
            self._mails.accepted(session, delivery_id, provider_id(message_id))
        if kind in _FAILED and reason_of(event) is not None:
            self._mails.bounced(session, delivery_id, _storable(str(event.get("reason") or "")))


def reason_of(event: Mapping[str, Any]) -> Reason | None:
    """Return why nothing more may be sent to the address of an event; None if it does not say so."""
    kind = event.get("event")
    if kind == "bounce":  # its type is `blocked` if only this mail was refused
        return Reason.BOUNCE if event.get("type") == "bounce" else None
    if kind == "dropped":
        return _DROPPED.get(str(event.get("reason")))
    return _REASONS.get(str(kind))


def _id(event: Mapping[str, Any]) -> str | None:
    found = event.get("sg_event_id")
    return found if isinstance(found, str) and 0 < len(found) <= ID_CHARACTERS_MAX else None


def _storable(text: str) -> str:
    """Replace what PostgreSQL refuses: NUL, and halves of surrogate pairs, which JSON can name."""
    return text.replace("\0", "?").encode(errors="replace").decode()


def _is_storable(text: str) -> bool:
    return text == _storable(text)


def _first_seen(session: Session, events: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Mark events as seen; return those that were not seen before."""
    by_id = {str(one["sg_event_id"]): one for one in events}
    if not by_id:
        return []
    rows = [{"id": one, "received": now()} for one in sorted(by_id)]
    adding = insert_into(session, PROVIDER_EVENTS).values(rows).on_conflict_do_nothing()
    new = session.connection().execute(adding.returning(PROVIDER_EVENTS.c.id)).scalars()
    return [by_id[one] for one in sorted(new)]
