"""Signatures of events sent through a broker, where anyone with write access could forge them.

A key derived from INTERNAL_SECRET signs the event together with the name of its sender. Signatures made with
INTERNAL_SECRET_PREVIOUS are accepted too, while the secret is being rotated.
"""

import hashlib
import hmac

from shared.process.settings import ProcessSettings

_PURPOSE = b"gatehouse events, version 1"  # the secret also signs tokens


class Signatures:
    """Signs for one service, and verifies the signatures of all."""

    def __init__(self, source: str, *secrets: str) -> None:
        self.source = source
        self._keys = [hmac.digest(secret.encode(), _PURPOSE, hashlib.sha256) for secret in secrets]
        # When this changes, the outbox sends its events again.
        self.key_id = hmac.digest(self._keys[0], b"key id", hashlib.sha256).hex()[:16]

    @classmethod
    def of(cls, settings: ProcessSettings) -> "Signatures":
        return cls(settings.service, *settings.internal_secrets)

    def sign(self, body: bytes) -> str:
        return _signature(self._keys[0], self.source.encode(), body)

    def holds(self, source: bytes, body: bytes, signature: bytes) -> bool:
        """Whether this is a valid signature of the body by `source`."""
        wanted = [_signature(key, source, body).encode() for key in self._keys]
        return any(hmac.compare_digest(signature, one) for one in wanted)


def _signature(key: bytes, source: bytes, body: bytes) -> str:
    length = len(source).to_bytes(4, "big")  # so that source and body cannot be split differently
    return hmac.digest(key, length + source + body, hashlib.sha256).hex()
