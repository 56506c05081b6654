"""Hashes of secrets, and keys derived from secrets."""

import hashlib
import hmac


def sha256_hex(secret: str | bytes) -> str:
    """Return the hash under which a random secret is stored, so that a copy of the database gives no access.

    Looking a secret up by its hash has no timing side channel. Passwords can be guessed and need a slow hash.
    """
    return hashlib.sha256(secret.encode() if isinstance(secret, str) else secret).hexdigest()


def derived_key(secret: str, purpose: str) -> bytes:
    """Derive a key for one purpose; it reveals neither the secret nor the keys of other purposes."""
    return hmac.digest(secret.encode(), f"gatehouse {purpose}".encode(), "sha256")
