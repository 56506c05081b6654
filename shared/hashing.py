"""Hashes under which random secrets are stored, so that a copy of the database opens nothing."""

import hashlib


def sha256_hex(secret: str | bytes) -> str:
    """Return the SHA-256 as hexadecimal text. Looking a secret up by its hash has no timing side channel.

    Only for what cannot be guessed, such as random tokens: passwords need a slow hash.
    """
    return hashlib.sha256(secret.encode() if isinstance(secret, str) else secret).hexdigest()
