"""The keys that sign checkpoints, the ends of exports, and statements."""

import base64
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from services.audit.errors import OnlyRead
from services.audit.proofs import Key
from services.audit.settings import Settings
from services.audit.statements import SIGNATURE, statement_text
from shared.hashing import derived_key


class LogKeys:
    """The signing key, derived from KEY_SECRET and never stored; during a change the previous one as well.

    `known` are all keys whose signatures must still be verifiable.
    """

    def __init__(self, settings: Settings) -> None:
        self.name = settings.log_name
        self._is_only_read = settings.background != "on"
        secrets = [settings.key_secret, *filter(None, [settings.key_secret_previous])]
        self._signing = [_signing_key(secret) for secret in secrets]
        self.public = [Key(self.name, key.public_key()) for key in self._signing]
        self.known = [*self.public, *map(Key.parse, settings.old_keys.split())]

    def sign(self, text: str) -> str:
        """Return the text as a note signed by every key, the newest first."""
        lines = [
            f"— {key.name} {base64.b64encode(key.id + signing.sign(text.encode())).decode()}\n"
            for key, signing in zip(self.public, self._signing, strict=True)
        ]
        return f"{text}\n{''.join(lines)}"

    def sign_statement(self, seq: int, action: str, resource: str, said: Mapping[str, Any]) -> dict[str, Any]:
        """Return a statement with a signature that binds it to its position in the log."""
        if self._is_only_read:  # the owner of the database could add the statement to the log itself
            raise OnlyRead
        text = statement_text(self.name, seq, action, resource, said)
        return {**said, SIGNATURE: self.sign(text).removeprefix(f"{text}\n")}


def _signing_key(secret: SecretStr) -> Ed25519PrivateKey:
    seed = derived_key(secret.get_secret_value(), "audit log")
    return Ed25519PrivateKey.from_private_bytes(seed)
