"""Known devices: those that signed in to an account before, which guesses from elsewhere cannot lock out."""

import base64
import hmac
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, select
from sqlmodel import Session
from starlette.requests import Request

from services.auth.keys.signing_keys import derived_key
from services.auth.models import DEVICES, EXPIRED_PER_CHANGE_MAX, KnownDevice
from services.auth.settings import Settings
from shared.clock import now
from shared.data.database import insert_into
from shared.ids import new_id

COOKIE = "__Host-device"  # browsers take such a name only over HTTPS, or from localhost
DEVICES_PER_ACCOUNT_MAX = 20
KEPT = timedelta(days=180)
_ID_BYTES = 16
_SEAL_BYTES = 16


class Devices:
    """Reads and writes the cookie that a device is known by.

    The cookie holds the id of the device and a seal, so that only ids made here count. It opens nothing: it
    only decides with whose attempts a password is counted.
    """

    def __init__(self, settings: Settings) -> None:
        self._seal_key = derived_key(settings.key_secret.get_secret_value(), "device seals")

    def device_of(self, request: Request) -> str | None:
        """The id in the cookie; None when there is none that was made here."""
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
        """The value of Set-Cookie that makes a browser present this device from now on."""
        content = UUID(device_id).bytes
        value = base64.urlsafe_b64encode(content + self._seal(content)).decode().rstrip("=")
        seconds = int(KEPT.total_seconds())
        return f"{COOKIE}={value}; Max-Age={seconds}; Path=/; Secure; HttpOnly; SameSite=Strict"

    def _seal(self, content: bytes) -> bytes:
        return hmac.digest(self._seal_key, content, "sha256")[:_SEAL_BYTES]


def is_known(session: Session, account_id: str, device_id: str) -> bool:
    """Whether the device signed in to the account, and has not been forgotten since."""
    found = select(DEVICES.c.used).where(
        DEVICES.c.account_id == account_id, DEVICES.c.device_id == device_id, DEVICES.c.used > now() - KEPT
    )
    return session.connection().execute(found).first() is not None


def remember(session: Session, account_id: str, device_id: str | None) -> str:
    """Make the device, or a new one, known to the account; returns its id. The least used are dropped."""
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
    # Both conditions: one device may be known to several accounts, and be expired for some of them.
    gone = delete(DEVICES).where(DEVICES.c.device_id.in_(ids.with_for_update(skip_locked=True)), expired)
    session.connection().execute(gone)


def forget_devices(session: Session, account_id: str, but: str | None = None) -> None:
    """Forget all devices of the account except one."""
    session.connection().execute(
        delete(DEVICES).where(DEVICES.c.account_id == account_id, DEVICES.c.device_id != (but or ""))
    )
