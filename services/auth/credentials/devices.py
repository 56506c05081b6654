"""Known devices: devices that have signed in before, which guesses from elsewhere cannot lock out."""

import base64
import hmac
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, select
from sqlmodel import Session
from starlette.requests import Request

from services.auth.models import DEVICES, EXPIRED_PER_CHANGE_MAX, KnownDevice
from services.auth.settings import Settings
from shared.clock import now
from shared.data.database import insert_into
from shared.hashing import derived_key
from shared.ids import new_id

COOKIE = "__Host-device"  # browsers accept this prefix only over HTTPS or from localhost
DEVICES_PER_ACCOUNT_MAX = 20
KEPT = timedelta(days=180)
_ID_BYTES = 16
_SEAL_BYTES = 16


class Devices:
    """Reads and writes the cookie that identifies a device.

    The cookie contains the device id and a MAC, so that only ids issued here are accepted. It grants no
    access: it only decides which counter a password attempt belongs to.
    """

    def __init__(self, settings: Settings) -> None:
        self._seal_key = derived_key(settings.key_secret.get_secret_value(), "device seals")

    def device_of(self, request: Request) -> str | None:
        """Return the device id in the cookie; None without a cookie that was issued here."""
        text = request.cookies.get(COOKIE, "")
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except ValueError:
            return None
        if len(raw) != _ID_BYTES + _SEAL_BYTES:
            return None
        is_ours = hmac.compare_digest(raw[_ID_BYTES:], self._seal(raw[:_ID_BYTES]))
        return str(UUID(bytes=raw[:_ID_BYTES])) if is_ours else None

    def cookie(self, device_id: str) -> str:
        """Return the Set-Cookie value for this device."""
        content = UUID(device_id).bytes
        value = base64.urlsafe_b64encode(content + self._seal(content)).decode().rstrip("=")
        seconds = int(KEPT.total_seconds())
        return f"{COOKIE}={value}; Max-Age={seconds}; Path=/; Secure; HttpOnly; SameSite=Strict"

    def _seal(self, content: bytes) -> bytes:
        return hmac.digest(self._seal_key, content, "sha256")[:_SEAL_BYTES]


def is_known(session: Session, account_id: str, device_id: str) -> bool:
    """Whether the device has signed in to the account and was not forgotten since."""
    found = select(DEVICES.c.used).where(
        DEVICES.c.account_id == account_id, DEVICES.c.device_id == device_id, DEVICES.c.used > now() - KEPT
    )
    return session.connection().execute(found).first() is not None


def remember(session: Session, account_id: str, device_id: str | None) -> str:
    """Record the device, or a new one, for the account; return its id. The oldest devices are dropped."""
    device_id = device_id or new_id()
    row = KnownDevice(account_id=account_id, device_id=device_id).model_dump()
    adding = insert_into(session, DEVICES).values(row)
    used_now = adding.on_conflict_do_update(
        index_elements=["account_id", "device_id"], set_={"used": row["used"]}
    )
    session.connection().execute(used_now)
    mine = DEVICES.c.account_id == account_id
    kept = select(DEVICES.c.device_id).where(mine).order_by(DEVICES.c.used.desc())
    too_many = DEVICES.c.device_id.not_in(kept.limit(DEVICES_PER_ACCOUNT_MAX))
    session.connection().execute(delete(DEVICES).where(mine, too_many))
    _delete_expired(session)
    return device_id


def _delete_expired(session: Session) -> None:
    expired = DEVICES.c.used < now() - KEPT
    ids = select(DEVICES.c.device_id).where(expired).limit(EXPIRED_PER_CHANGE_MAX)
    # Both conditions, because a device known to several accounts may have expired for some of them only.
    gone = delete(DEVICES).where(DEVICES.c.device_id.in_(ids.with_for_update(skip_locked=True)), expired)
    session.connection().execute(gone)


def forget_devices(session: Session, account_id: str, but: str | None = None) -> None:
    """Forget all devices of the account except one."""
    session.connection().execute(
        delete(DEVICES).where(DEVICES.c.account_id == account_id, DEVICES.c.device_id != (but or ""))
    )
