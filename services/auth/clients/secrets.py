"""Client secrets: 256 random bits, shown once. The database stores their hashes."""

import hmac
import secrets
from datetime import timedelta

from services.auth.clients.clients import KnownClient
from services.auth.models import Client
from shared.clock import now
from shared.hashing import sha256_hex

PREFIX = "gatehouse_secret_"  # lets secret scanners recognise one
SECRET_BYTES = 32


def renew_secret(client: Client, overlap: timedelta) -> str:
    """Set and return a new secret; the previous one stays valid during the overlap."""
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    client.previous_secret_hash = client.secret_hash if overlap else None
    client.previous_secret_expires = now() + overlap if client.previous_secret_hash else None
    client.secret_hash = sha256_hex(secret)
    return secret


def is_secret_of(client: KnownClient, shown: str) -> bool:
    """Whether this is the client's current secret, or the previous one during the overlap."""
    digest = sha256_hex(shown)
    is_current = hmac.compare_digest(digest, client.secret_hash or "")
    is_previous = hmac.compare_digest(digest, client.previous_secret_hash or "")
    expires = client.previous_secret_expires
    return is_current or (is_previous and expires is not None and expires > now())
