"""The phones of accounts. Their owner confirms a number by a code that is sent to it."""

import hmac
import secrets
from collections.abc import Collection
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select, update
from sqlmodel import Session

from services.notifications.deliveries import State
from services.notifications.errors import (
    NoCodeSent,
    NumberNotAllowed,
    Suppressed,
    TextsAreOff,
)
from services.notifications.languages import language_of
from services.notifications.models import PHONES
from services.notifications.preferences import lock, timings_of
from services.notifications.settings import Settings
from services.notifications.sms.messages import CODE, TOO_MANY, Sms, TextMessages
from services.notifications.timing import DEFAULT
from services.notifications.wording import Phrase
from shared.clock import now
from shared.data.database import insert_into, one_row
from shared.data.sealed import KeyMissing, SealBroken, SealedColumn
from shared.errors import TooManyRequests
from shared.hashing import derived_key

CODE_VALID = timedelta(minutes=10)
CODES_PER_DAY = 5
WRONG_MAX = 5


class Phones:
    """Keeps the number of each account sealed, within the caller's transaction."""

    def __init__(self, settings: Settings, messages: TextMessages) -> None:
        self._messages, self._language = messages, settings.notification_language
        self.sealed = SealedColumn(settings.sealer(), PHONES.c.sealed)
        self._key = derived_key(settings.key_secret.get_secret_value(), "codes of phones")

    def find(self, session: Session, user_id: str) -> tuple[str | None, bool]:
        """Return the number of an account, and whether it is confirmed; none if it cannot be read."""
        row = one_row(session, select(PHONES).where(PHONES.c.user_id == user_id))
        if row is None:
            return None, False
        try:
            return self.sealed.open(user_id, row["sealed"]), row["confirmed"] is not None
        except (SealBroken, KeyMissing):
            return None, False

    def confirmed(self, session: Session, people: Collection[str]) -> dict[str, str]:
        """Return the confirmed numbers of these accounts, except those that cannot be read."""
        mine = PHONES.c.user_id.in_(people), PHONES.c.confirmed.is_not(None)
        found = session.connection().execute(select(PHONES.c.user_id, PHONES.c.sealed).where(*mine))
        numbers = {}
        for user_id, sealed in found:
            try:
                numbers[user_id] = self.sealed.open(user_id, sealed)
            except (SealBroken, KeyMissing):
                continue  # its owner sees none, and enters it again
        return numbers

    def enter(self, session: Session, user_id: str, number: str) -> None:
        """Store a number, and send a code to it. A number that was confirmed before no longer counts."""
        if self._messages.is_off:
            raise TextsAreOff
        if not self._messages.may_call(number):
            raise NumberNotAllowed
        lock(session, user_id)  # two requests at once cannot exceed the limit
        if self._messages.recent(session, user_id, CODE, timedelta(days=1), CODES_PER_DAY) >= CODES_PER_DAY:
            raise _too_many(f"An account may request {CODES_PER_DAY} codes a day.")
        self._messages.cancel_waiting(session, user_id)  # to the phone before
        code, expires = f"{secrets.randbelow(10**6):06}", now() + CODE_VALID
        row = {
            "sealed": self.sealed.seal(user_id, number),
            "confirmed": None,
            "code_hash": self._hash(user_id, code),
            "code_expires": expires,
            "wrong": 0,
            "updated": now(),
        }
        adding = insert_into(session, PHONES).values(user_id=user_id, **row)
        session.connection().execute(adding.on_conflict_do_update(index_elements=["user_id"], set_=row))
        timing = timings_of(session, [user_id]).get(user_id, DEFAULT)
        language = language_of(timing.language, self._language)
        text = Phrase("phone_code", {"code": code}).in_language(language).content
        sms = Sms(CODE, number, text, user_id, language, expires=expires)
        state, reason = self._messages.add(session, sms)
        if reason == TOO_MANY:
            raise _too_many("Too many codes were requested today.")
        if state is not State.QUEUED:
            raise Suppressed(reason=reason)

    def confirm(self, session: Session, user_id: str, code: str) -> bool:
        """Confirm the number; return whether the code is right. A wrong one counts, so commit either way."""
        mine = PHONES.c.user_id == user_id
        row = one_row(session, select(PHONES).where(mine).with_for_update())
        if row is None or row["code_hash"] is None or row["code_expires"] <= now():
            raise NoCodeSent
        if row["wrong"] >= WRONG_MAX:
            raise NoCodeSent
        is_right = hmac.compare_digest(row["code_hash"], self._hash(user_id, code))
        values: dict[str, Any] = {"wrong": PHONES.c.wrong + 1}
        if is_right:
            values = {"confirmed": now(), "code_hash": None, "code_expires": None, "updated": now()}
        session.connection().execute(update(PHONES).where(mine).values(values))
        return is_right

    def remove(self, session: Session, user_id: str) -> bool:
        """Delete the number, and cancel what waits to be sent to it; return False if there is none."""
        self._messages.cancel_waiting(session, user_id)
        gone = delete(PHONES).where(PHONES.c.user_id == user_id)
        return bool(session.connection().execute(gone).rowcount)

    def _hash(self, user_id: str, code: str) -> str:
        return hmac.digest(self._key, f"{user_id} {code}".encode(), "sha256").hex()


def _too_many(detail: str) -> TooManyRequests:
    return TooManyRequests(detail, headers={"Retry-After": "3600"})
