"""One-time codes of an authenticator app (RFC 6238): six digits, thirty seconds, each accepted once."""

import re
import time

import pyotp
from pyotp.exceptions import OTPVerificationError

ISSUER = "Gatehouse"
SECRET_CHARACTERS = 32  # of base32: 160 bits
STEPS_AROUND = 1  # clocks that differ by half a minute
_CODE = re.compile(r"[0-9]{6}", re.ASCII)


def new_secret() -> str:
    return pyotp.random_base32(SECRET_CHARACTERS)


def address_of(secret: str, name: str) -> str:
    """The address that an app reads from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=ISSUER)


def step_of(secret: str, code: str) -> int | None:
    """The step of time that a code belongs to; None for one that is not good now."""
    if not _CODE.fullmatch(code):
        return None
    try:
        return pyotp.TOTP(secret).verify_and_get_timecode(
            code, for_time=int(time.time()), valid_window=STEPS_AROUND
        )
    except OTPVerificationError:
        return None
