"""Known devices: devices that have signed in before, which guesses from elsewhere cannot lock out."""

import base64
import hmac
from datetime import timedelta
from uuid import UUID

from sqlalchemy import bindparam, delete, select
from sqlmodel import Session
from starlette.requests import Request

from services.auth.models import DEVICES, EXPIRED_PER_CHANGE_MAX
from services.auth.settings import Settings
from shared.clock import now
from shared.data.statements import Rows, Statement, deletion_of, upsert_of
from shared.hashing import derived_key
from shared.ids import new_id

COOKIE = "__Host-device"  # browsers accept this prefix only over HTTPS or from localhost
DEVICES_PER_ACCOUNT_MAX = 20
KEPT = timedelta(days=180)
_ID_BYTES = 16
_SEAL_BYTES = 16
_is_mine = DEVICES.c.account_id == bindparam("account")
_NEWEST = select(DEVICES.c.device_id).where(_is_mine).order_by(DEVICES.c.used.desc())
_REMEMBER = Statement(upsert_of(DEVICES, "used"))
_DELETE_OLDEST = Statement(
    delete(DEVICES).where(_is_mine, DEVICES.c.device_id.not_in(_NEWEST.limit(bindparam("kept"))))
)
_DELETE_EXPIRED = Statement(deletion_of(DEVICES.c.device_id, DEVICES.c.used, EXPIRED_PER_CHANGE_MAX))
_KNOWN = Rows(
    select(DEVICES.c.used).where(
        _is_mine, DEVICES.c.device_id == bindparam("device"), DEVICES.c.used > bindparam("since")
    )
)


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
    return _KNOWN.one(session, account=account_id, device=device_id, since=now() - KEPT) is not None


def remember(session: Session, account_id: str, device_id: str | None) -> str:
    """Record the device, or a new one, for the account; return its id. The oldest devices are dropped."""
    device_id = device_id or new_id()
    moment = now()
    _REMEMBER.execute(session, {"account_id": account_id, "device_id": device_id, "used": moment})
    _DELETE_OLDEST.execute(session, {"account": account_id, "kept": DEVICES_PER_ACCOUNT_MAX})
    _DELETE_EXPIRED.execute(session, {"before": moment - KEPT})
    return device_id


def forget_devices(session: Session, account_id: str, but: str | None = None) -> None:
    """Forget all devices of the account except one."""
    session.connection().execute(
        delete(DEVICES).where(DEVICES.c.account_id == account_id, DEVICES.c.device_id != (but or ""))
    )
