"""Signatures of events that pass a broker, where anybody who may write could forge them.

A key made from INTERNAL_SECRET signs which service sends an event, and the event. With it, a service also
accepts what was signed with INTERNAL_SECRET_PREVIOUS, while the secret is being changed.
"""

import hashlib
import hmac

from shared.process.settings import ProcessSettings

_PURPOSE = b"gatehouse events, version 1"  # the secret also signs tokens, by a key of its own


class Signatures:
    """Signs for one service, and verifies the signatures of others."""

    def __init__(self, source: str, *secrets: str) -> None:
        self.source = source
        self._keys = [hmac.digest(secret.encode(), _PURPOSE, hashlib.sha256) for secret in secrets]
        # Entries that carry another signature than they would now have to be sent again.
        self.key_id = hmac.digest(self._keys[0], b"key id", hashlib.sha256).hex()[:16]

    @classmethod
    def of(cls, settings: ProcessSettings) -> "Signatures":
        return cls(settings.service, *settings.internal_secrets)

    def sign(self, body: bytes) -> str:
        return _signature(self._keys[0], self.source.encode(), body)

    def holds(self, source: bytes, body: bytes, signature: bytes) -> bool:
        """Whether a service of the suite that calls itself `source` has signed this body."""
        wanted = [_signature(key, source, body).encode() for key in self._keys]
        return any(hmac.compare_digest(signature, one) for one in wanted)


def _signature(key: bytes, source: bytes, body: bytes) -> str:
    length = len(source).to_bytes(4, "big")  # so that no part of the one can be taken for the other
    return hmac.digest(key, length + source + body, hashlib.sha256).hex()
