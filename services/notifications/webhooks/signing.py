"""Signatures as in Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 of id, time and body."""

import hmac
import secrets
from base64 import b64decode, b64encode
from collections.abc import Sequence

SECRET_BYTES = 32
PREFIX = "whsec_"


def new_secret() -> str:
    return PREFIX + b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signed_headers(keys: Sequence[str], message_id: str, seconds: int, body: bytes) -> dict[str, str]:
    """Return the headers of a call, with a signature by each secret that is valid."""
    content = b".".join((message_id.encode(), str(seconds).encode(), body))
    signatures = (_signature(key, content) for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(f"v1,{one}" for one in signatures),
    }


def _signature(key: str, content: bytes) -> str:
    return b64encode(hmac.digest(b64decode(key.removeprefix(PREFIX)), content, "sha256")).decode()
