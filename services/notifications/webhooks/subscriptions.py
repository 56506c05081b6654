"""The webhooks of an account: their URL, the types of messages they receive, and their secrets."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import func, insert, select, update
from sqlmodel import Session

from services.notifications.errors import TooManyWebhooks
from services.notifications.models import WEBHOOKS
from services.notifications.preferences import lock
from services.notifications.settings import Settings
from services.notifications.webhooks.signing import new_secret
from shared.clock import now
from shared.data.sealed import KeyMissing, SealBroken, SealedColumn
from shared.errors import NotFound
from shared.ids import new_id
from shared.lists.pagination import rows_of

WEBHOOKS_MAX = 10  # per account
OLD_SECRET_VALID = timedelta(hours=24)

log = structlog.get_logger(__name__)


class Secrets:
    """The sealed secrets of webhooks: the newest, and for a day after a rotation the previous one."""

    def __init__(self, settings: Settings) -> None:
        self.sealed = SealedColumn(settings.sealer(), WEBHOOKS.c.sealed)

    def seal(self, webhook_id: str, secrets: Sequence[str]) -> str:
        return self.sealed.seal(webhook_id, json.dumps(list(secrets)))

    def valid(self, webhook_id: str, sealed: str, rotated: datetime | None, at: datetime) -> list[str]:
        """Return the secrets to sign with, newest first."""
        secrets: list[str] = json.loads(self.sealed.open(webhook_id, sealed))
        has_old = rotated is not None and at < rotated + OLD_SECRET_VALID
        return secrets if has_old else secrets[:1]


def list_of(session: Session, user_id: str) -> list[dict[str, Any]]:
    mine = select(WEBHOOKS).where(WEBHOOKS.c.user_id == user_id).order_by(WEBHOOKS.c.id.desc())
    return rows_of(session, mine)


def find(session: Session, user_id: str, webhook_id: str) -> dict[str, Any]:
    mine = WEBHOOKS.c.id == webhook_id, WEBHOOKS.c.user_id == user_id
    rows = rows_of(session, select(WEBHOOKS).where(*mine))
    if not rows:
        raise NotFound
    return rows[0]


def create(
    session: Session, secrets: Secrets, user_id: str, url: str, types: Sequence[str], description: str
) -> tuple[dict[str, Any], str]:
    """Create a webhook, and return its row and its secret."""
    lock(session, user_id)  # two requests at once cannot exceed the limit
    number = select(func.count()).where(WEBHOOKS.c.user_id == user_id)
    if session.connection().execute(number).scalar_one() >= WEBHOOKS_MAX:
        raise TooManyWebhooks
    webhook_id, secret, at = new_id(), new_secret(), now()
    row = {
        "id": webhook_id,
        "user_id": user_id,
        "url": url,
        "description": description,
        "types": json.dumps(types),
        "is_enabled": True,
        "sealed": secrets.seal(webhook_id, [secret]),
        "failures": 0,
        "created": at,
        "updated": at,
    }
    session.connection().execute(insert(WEBHOOKS), [row])
    return find(session, user_id, webhook_id), secret


def change(
    session: Session,
    user_id: str,
    webhook_id: str,
    *,
    url: str,
    types: Sequence[str],
    description: str,
    is_enabled: bool,
) -> dict[str, Any]:
    """Change a webhook. A changed one begins without failures."""
    values = {"url": url, "types": json.dumps(types), "description": description, "is_enabled": is_enabled}
    healthy = {"failures": 0, "failing_since": None, "open_until": None}
    because = None if is_enabled else "owner"
    _change(
        session,
        user_id,
        webhook_id,
        {**values, **healthy, "disabled_because": because, "updated": now()},
    )
    return find(session, user_id, webhook_id)


def rotate(session: Session, secrets: Secrets, user_id: str, webhook_id: str) -> tuple[dict[str, Any], str]:
    """Give a webhook a new secret; the previous one stays valid for a day, unless it cannot be decrypted."""
    _change(session, user_id, webhook_id, {"updated": now()})  # locks the row: no rotation is lost
    row, secret = find(session, user_id, webhook_id), new_secret()
    try:
        newest = secrets.valid(webhook_id, row["sealed"], None, now())
    except (SealBroken, KeyMissing) as error:
        log.warning("webhook_secret_unreadable", webhook_id=webhook_id, error=repr(error))
        newest = []
    values = {"sealed": secrets.seal(webhook_id, [secret, *newest]), "rotated": now()}
    _change(session, user_id, webhook_id, values)
    return find(session, user_id, webhook_id), secret


def _change(session: Session, user_id: str, webhook_id: str, values: dict[str, Any]) -> None:
    mine = update(WEBHOOKS).where(WEBHOOKS.c.id == webhook_id, WEBHOOKS.c.user_id == user_id)
    if not session.connection().execute(mine.values(values)).rowcount:
        raise NotFound
