"""Secrets stored encrypted in the database: AES-256-GCM, with a key per service, bound to their row.

A sealed value is text: version, key id, and nonce plus ciphertext. Its place (table, column and row) is
authenticated as associated data: write access to the database is not enough to move a value to another row,
from which the service would send it elsewhere.
"""

import hashlib
import json
import os
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr, ValidationInfo, field_validator
from sqlalchemy import Column, Table, select, update
from sqlmodel import Session

from shared.data.database import Database
from shared.hashing import derived_key
from shared.process.settings import ServiceSettings, strong, strong_or_made

VERSION = "s1"
VALUE_BYTES_MAX = 64 * 1024
NONCE_BYTES = 12
RESEALED_AT_ONCE = 200
_SEALED = re.compile(rf"{VERSION}\.([0-9a-f]{{16}})\.([A-Za-z0-9_-]+)", re.ASCII)

log = structlog.get_logger(__name__)


class SealBroken(Exception):
    """This value was not sealed for this place, or has been changed since."""


class KeyMissing(Exception):
    """The value was sealed with a key other than KEY_SECRET and KEY_SECRET_PREVIOUS."""


class SealingSettings(ServiceSettings):
    """The settings of a service that stores secrets."""

    key_secret: SecretStr = SecretStr("")
    key_secret_previous: SecretStr | None = None  # only opens existing values

    @field_validator("key_secret")
    @classmethod
    def _key_secret_made_in_development(cls, secret: SecretStr, info: ValidationInfo) -> SecretStr:
        return strong_or_made(secret, "key_secret", info.data)

    @field_validator("key_secret_previous")
    @classmethod
    def _previous_is_strong_if_set(cls, secret: SecretStr | None) -> SecretStr | None:
        return secret and strong(secret, is_old=True)

    def sealer(self) -> "Sealer":
        previous = self.key_secret_previous
        secrets = [self.key_secret, *([previous] if previous else [])]
        return Sealer(self.service, [secret.get_secret_value() for secret in secrets])


class _Key:
    def __init__(self, service: str, secret: str) -> None:
        key = derived_key(secret, f"sealed values of {service}")
        self.id = hashlib.sha256(b"id of " + key).hexdigest()[:16]
        self.cipher = AESGCM(key)


class Sealer:
    """Seals values with the first secret, and opens values sealed with any of them."""

    def __init__(self, service: str, secrets: Sequence[str]) -> None:
        keys = [_Key(service, secret) for secret in secrets]
        self._newest, self._keys = keys[0], {key.id: key for key in reversed(keys)}

    @property
    def prefix(self) -> str:
        """The prefix of values that need not be sealed again."""
        return f"{VERSION}.{self._newest.id}."

    def seal(self, value: str, *place: str) -> str:
        content = value.encode()
        if len(content) > VALUE_BYTES_MAX:
            raise ValueError(f"a sealed value has at most {VALUE_BYTES_MAX} bytes")
        nonce = os.urandom(NONCE_BYTES)
        encrypted = self._newest.cipher.encrypt(nonce, content, _associated(place))
        return self.prefix + urlsafe_b64encode(nonce + encrypted).decode().rstrip("=")

    def open(self, sealed: str, *place: str) -> str:
        """Return the value; raise SealBroken if it was not sealed for this place."""
        found = _SEALED.fullmatch(sealed)
        if found is None:
            raise SealBroken
        key = self._keys.get(found[1])
        if key is None:
            raise KeyMissing(f"the key {found[1]} is in neither KEY_SECRET nor KEY_SECRET_PREVIOUS")
        try:
            content = urlsafe_b64decode(found[2] + "=" * (-len(found[2]) % 4))
            opened = key.cipher.decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], _associated(place))
        except (ValueError, InvalidTag) as error:
            raise SealBroken from error
        return opened.decode()


class SealedColumn:
    """A column of sealed values, in a table with a single text column as its primary key."""

    def __init__(self, sealer: Sealer, column: Column[Any]) -> None:
        table = column.table
        assert isinstance(table, Table)
        (self._id,) = table.primary_key.columns
        self._sealer, self._table, self._column = sealer, table, column

    def seal(self, row_id: str, value: str) -> str:
        """Return the sealed value to store in this row."""
        return self._sealer.seal(value, *self._place(row_id))

    def open(self, row_id: str, sealed: str) -> str:
        """Open a sealed value from this row."""
        return self._sealer.open(sealed, *self._place(row_id))

    def renew(self, database: Database, is_stopping: Callable[[], bool]) -> None:
        """Reseal values sealed with an older key, so that the key can be removed. Meant to run as a duty."""
        after: str | None = ""
        renewed = 0
        while after is not None and not is_stopping():
            with database.transaction() as session:
                after, number = self._renew_some(session, after)
            renewed += number
        if renewed:
            log.info("sealed_values_renewed", table=self._table.name, renewed=renewed, is_all=after is None)

    def _renew_some(self, session: Session, after: str) -> tuple[str | None, int]:
        """Reseal some rows after this id; return the last id (None at the end) and the number resealed."""
        execute, column, number = session.connection().execute, self._column, 0
        some = select(self._id, column).where(self._id > after).order_by(self._id).limit(RESEALED_AT_ONCE)
        rows = execute(some).all()
        for row_id, sealed in rows:
            if sealed is None or sealed.startswith(self._sealer.prefix):
                continue
            try:
                again = self.seal(row_id, self.open(row_id, sealed))
            except (SealBroken, KeyMissing) as error:
                log.error("sealed_value_unreadable", **self._named(row_id), error=repr(error))  # noqa: TRY400
                continue
            # A value that was changed in the meantime is already sealed with the newest key.
            unchanged = update(self._table).where(self._id == row_id, column == sealed)
            number += execute(unchanged.values({column.name: again})).rowcount
        return (rows[-1][0] if rows else None), number

    def _named(self, row_id: str) -> dict[str, str]:
        return dict(zip(("table", "column", "row_id"), self._place(row_id), strict=True))

    def _place(self, row_id: str) -> tuple[str, str, str]:
        return self._table.name, self._column.name, row_id


def _associated(place: Sequence[str]) -> bytes:
    """Encode a place unambiguously: plain concatenation could be split differently."""
    return json.dumps([VERSION, *place], ensure_ascii=True).encode()
