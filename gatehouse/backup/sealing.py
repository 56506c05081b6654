"""The suite's secrets within a backup, sealed with a passphrase (scrypt, AES-256-GCM)."""

import json
import os
from typing import TypedDict

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from gatehouse.backup import NotDone

_MAGIC = b"gatehouse secrets 1\n"
_SALT_BYTES, _NONCE_BYTES = 16, 12
_SCRYPT = {"length": 32, "n": 1 << 16, "r": 8, "p": 1}  # 64 MiB and about 0.3 s for each guess
PASSPHRASE_CHARACTERS_MIN = 12


class Secrets(TypedDict):
    """The suite's secrets by variable, and the files from which development reads those it made itself."""

    variables: dict[str, str]
    files: dict[str, str]


def seal(passphrase: str, backup_id: str, secrets: Secrets) -> bytes:
    salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
    sealed = AESGCM(_key(passphrase, salt)).encrypt(nonce, json.dumps(secrets).encode(), backup_id.encode())
    return _MAGIC + salt + nonce + sealed


def unseal(passphrase: str, backup_id: str, content: bytes) -> Secrets:
    rest = content.removeprefix(_MAGIC)
    salt, nonce = rest[:_SALT_BYTES], rest[_SALT_BYTES:][:_NONCE_BYTES]
    sealed = rest[_SALT_BYTES + _NONCE_BYTES :]
    try:
        secrets: Secrets = json.loads(
            AESGCM(_key(passphrase, salt)).decrypt(nonce, sealed, backup_id.encode())
        )
    except (InvalidTag, ValueError):
        raise NotDone(
            "BACKUP_PASSPHRASE is not the one that sealed this backup's secrets; nothing was changed"
        ) from None
    return secrets


def _key(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, **_SCRYPT).derive(passphrase.encode())
