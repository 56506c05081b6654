"""What is measured, for whom, and under which name: the rules of GA4, checked before anything is queued.

Google answers 2xx to everything, so an event that breaks its rules would be lost without a word.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address
from urllib.parse import unquote

from sqlalchemy import select, update
from sqlmodel import Session

from services.notifications import preferences
from services.notifications.models import PREFERENCES, RECIPIENTS, WORK
from services.notifications.settings import Settings
from shared.clock import now
from shared.data.money import from_minor
from shared.errors import Overloaded
from shared.ids import new_id
from shared.work.changes import Changes
from shared.work.leased import Queue

QUEUE = "analytics"
WAITING_MAX = 10_000
# GA4 ignores what is older.
EVENT_AGE_MAX = timedelta(hours=72)
LEASE_CALLS = 3
_CONSENT = "analytics"  # in a person's choices
_SIGNED_UP = "analytics_sign_up"  # there as well, and kept without consent: nobody signs up twice
_NO_LIMIT = 2**31 - 2
_RESERVED_BEGINS = ("ga_", "google_", "firebase_", "gtag.")
_RESERVED = frozenset(
    """
    ad_activeview ad_click ad_exposure ad_query ad_reward adunit_exposure app_clear_data app_exception
    app_remove app_store_refund app_store_subscription_cancel app_store_subscription_convert
    app_store_subscription_renew app_update app_upgrade dynamic_link_app_open dynamic_link_app_update
    dynamic_link_first_open error first_open first_visit in_app_purchase notification_dismiss
    notification_foreground notification_open notification_receive os_update session_start
    session_start_with_rollout user_engagement
    """.split()
)
_RESERVED_PARAMS = frozenset("user_id client_id session_id session_number firebase_conversion".split())
# Addresses and IP addresses, as far as they can be recognised.
_PERSONAL = re.compile(
    r"[^\s@]@[^\s@]|\b\d{1,3}(?:\.\d{1,3}){3}\b|[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){3,7}"
)
_WITH_COLONS = re.compile(r"[\w.]*:[\w.:]+")

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Measured:
    """An event of one person, known to Google only by a random `client_id`."""

    user_id: str
    client_id: str
    name: str
    params: Mapping[str, Value]
    micros: int

    @property
    def body(self) -> bytes:
        """What Google receives."""
        event = {"name": self.name, "params": dict(self.params)}
        sent = {"client_id": self.client_id, "timestamp_micros": self.micros, "events": [event]}
        return json.dumps(sent, separators=(",", ":")).encode()


def fault_of(name: str, params: Mapping[str, Value]) -> tuple[str, str, str] | None:
    """Return field, code and message of what GA4 or the protection of data forbids."""
    if name in _RESERVED or name.startswith(_RESERVED_BEGINS):
        return "name", "reserved_name", "is reserved by Google Analytics"
    for key, value in params.items():
        if key in _RESERVED_PARAMS or key.startswith(_RESERVED_BEGINS):
            return f"params.{key}", "reserved_name", "is reserved by Google Analytics"
        if isinstance(value, str) and _is_personal(value):
            return f"params.{key}", "personal_data", "must contain neither e-mail addresses nor IP addresses"
    return None


def _is_personal(text: str) -> bool:
    """Whether a text, as it is or decoded from a URL, names an e-mail address or an IP address."""
    texts = text, unquote(text)
    return any(_PERSONAL.search(one) or any(map(_is_ipv6, _WITH_COLONS.findall(one))) for one in texts)


def _is_ipv6(word: str) -> bool:
    try:
        return not IPv6Address(word.strip(".")).is_unspecified  # `::` is more often punctuation
    except ValueError:
        return False


class Analytics:
    """Keeps who has agreed, and queues events, within the caller's transaction."""

    def __init__(self, settings: Settings, changes: Changes) -> None:
        self.is_on, self._changes = settings.has_analytics, changes
        lease = timedelta(seconds=LEASE_CALLS * settings.analytics_timeout_seconds)
        self.queue = Queue(WORK, QUEUE, lease=lease, attempts_max=_NO_LIMIT)

    def agree(self, session: Session, user_id: str, *, is_on: bool) -> None:
        """Store a person's choice. The random id is new each time, and gone without consent.

        Nobody can agree before they have an account, so this is when Google may learn of a new one.
        """
        preferences.lock(session, user_id)
        made = _choices(session, user_id)
        if is_on and _CONSENT not in made:
            made[_CONSENT] = {"client_id": new_id()}
        elif not is_on:
            made.pop(_CONSENT, None)
        _keep(session, user_id, made)
        self.add_sign_up(session, user_id)

    def client_id(self, session: Session, user_id: str) -> str | None:
        """Return the id under which Google knows a person; None without consent."""
        found = _choices(session, user_id).get(_CONSENT)
        return None if found is None else str(found["client_id"])

    def add(
        self,
        session: Session,
        user_id: str,
        name: str,
        params: Mapping[str, Value],
        at: datetime | None = None,
    ) -> bool:
        """Queue an event if measuring is on and the person has agreed; return whether it was queued."""
        client_id = self.client_id(session, user_id) if self.is_on else None
        if client_id is None:
            return False
        waiting = select(WORK.work.c.id).where(WORK.work.c.queue == QUEUE).offset(WAITING_MAX).limit(1)
        if session.connection().execute(waiting).first() is not None:
            raise Overloaded
        measured = Measured(user_id, client_id, name, params, int((at or now()).timestamp() * 1_000_000))
        self.queue.add(session, json.dumps(asdict(measured)))
        self._changes.note(session, QUEUE)
        return True

    def add_sign_up(self, session: Session, user_id: str) -> None:
        """Queue that someone has signed up, once, if they agreed while GA4 still takes their new account."""
        if not self.is_on or self.client_id(session, user_id) is None:
            return
        found = select(RECIPIENTS.c.joined).where(RECIPIENTS.c.user_id == user_id)
        joined = session.connection().execute(found).scalar()
        if joined is None or joined <= now() - EVENT_AGE_MAX:
            return
        preferences.lock(session, user_id)
        made = _choices(session, user_id)
        if _CONSENT not in made or _SIGNED_UP in made:
            return
        try:
            self.add(session, user_id, "sign_up", {}, joined)
        except Overloaded:
            return
        _keep(session, user_id, made | {_SIGNED_UP: {"is_queued": True}})

    def add_purchase(
        self, session: Session, user_id: str, order_id: str, minor: int, currency: str, at: datetime
    ) -> None:
        """Queue a purchase. The event of orders that reports it must not fail because Google is slow."""
        params: dict[str, Value] = {
            "transaction_id": order_id,
            "value": float(from_minor(minor, currency)),
            "currency": currency,
        }
        try:
            self.add(session, user_id, "purchase", params, at)
        except Overloaded:
            return


def _keep(session: Session, user_id: str, made: Mapping[str, Mapping[str, str | bool]]) -> None:
    mine = update(PREFERENCES).where(PREFERENCES.c.user_id == user_id)
    session.connection().execute(mine.values(choices=json.dumps(made, sort_keys=True), updated=now()))


def _choices(session: Session, user_id: str) -> dict[str, dict[str, str | bool]]:
    found = select(PREFERENCES.c.choices).where(PREFERENCES.c.user_id == user_id)
    stored = session.connection().execute(found).scalar()
    choices: dict[str, dict[str, str | bool]] = {} if stored is None else json.loads(stored)
    return choices
