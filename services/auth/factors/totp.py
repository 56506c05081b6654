"""Time-based one-time codes of an authenticator app (RFC 6238): six digits, thirty seconds."""

import re
import time

import pyotp
from pyotp.exceptions import OTPVerificationError

ISSUER = "Gatehouse"
SECRET_CHARACTERS = 32  # base32: 160 bits
STEPS_AROUND = 1  # allows clocks to differ by half a minute
_CODE = re.compile(r"[0-9]{6}", re.ASCII)


def new_secret() -> str:
    return pyotp.random_base32(SECRET_CHARACTERS)


def address_of(secret: str, name: str) -> str:
    """Return the otpauth:// URI that an app reads from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=ISSUER)


def step_of(secret: str, code: str) -> int | None:
    """Return the time step of a code; None if the code is not valid now."""
    if not _CODE.fullmatch(code):
        return None
    try:
        return pyotp.TOTP(secret).verify_and_get_timecode(
            code, for_time=int(time.time()), valid_window=STEPS_AROUND
        )
    except OTPVerificationError:
        return None
