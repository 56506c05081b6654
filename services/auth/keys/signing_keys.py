"""The keys that sign tokens: created at the first start, stored encrypted in the database.

Which key signs depends only on the database and the clock, so all replicas agree without communicating.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm
from jwt.utils import base64url_encode
from prometheus_client import Gauge
from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from services.auth.key_models import SigningKey
from services.auth.keys.compact import Signer
from services.auth.models import SIGNING_KEYS
from services.auth.settings import Settings
from shared.clock import now
from shared.data.database import Database
from shared.hashing import derived_key
from shared.process.settings import SettingsError

RSA_BITS = 2048
PUBLISHED_MAX = 10
REFRESH_SECONDS = 10.0
ACCESS_TOKEN_TYPE = "at+jwt"  # noqa: S105 - a token type of RFC 9068

KEY_AGE = Gauge("key_age_seconds", "For how long the key that signs tokens has done so")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Key:
    id: str
    private: RSAPrivateKey
    signer: Signer
    signs_from: datetime


class SigningKeys:
    """Signs with RS256 and publishes the key set; with JWT_SECRET, signs with HS256 and publishes none."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        secret = settings.jwt_secret
        self._shared = None if secret is None else Signer.of_secret(secret.get_secret_value())
        self._passphrase = derived_key(settings.key_secret.get_secret_value(), "signing keys").hex().encode()
        self._ring: tuple[_Key, ...] = ()  # newest first: those that wait to sign, and the one that signs

    def prepare(self) -> None:
        """Load the keys; create the first one if there is none."""
        if self._shared is None and not self._load():
            self._add_first()
            self._load()
        KEY_AGE.set_function(self._age_seconds)

    def require_readable(self) -> None:
        """Raise SettingsError unless KEY_SECRET opens the keys in the database."""
        self._load()

    def refresh(self, _is_stopping: Callable[[], bool] = bool) -> None:
        """Follow rotations by other processes. Meant to run as a duty, and when a key is killed."""
        if self._shared is not None:
            return
        try:
            self._load()
        except SettingsError as error:
            log.error("signing_keys_unreadable", error=str(error))  # noqa: TRY400 - no traceback needed
            return
        with self._database.transaction(write=False) as session:
            is_left = session.connection().execute(select(SIGNING_KEYS.c.number).where(*_spent())).first()
        if is_left is not None:
            with self._database.transaction() as session:
                session.connection().execute(update(SIGNING_KEYS).where(*_spent()).values(private_pem=""))

    @property
    def are_public(self) -> bool:
        """Whether others can verify signatures without being able to sign."""
        return self._shared is None

    def sign(self, claims: dict[str, Any], kind: str = ACCESS_TOKEN_TYPE) -> str:
        return (self._shared or self._signer(now()).signer).write(claims, kind)

    def _signer(self, moment: datetime) -> _Key:
        return next((key for key in self._ring if key.signs_from <= moment), self._ring[-1])

    def _age_seconds(self) -> float:
        moment = now()
        return (moment - self._signer(moment).signs_from).total_seconds() if self._ring else 0.0

    async def document(self) -> dict[str, Any]:
        """Return the public key set (RFC 7517)."""
        if self._shared is not None:
            return {"keys": []}
        return {"keys": await self._database.read(_public_keys)}

    async def public_key(self, key_id: object) -> dict[str, str] | None:
        """Return a key that was not killed, even if all its access tokens have expired."""
        if self._shared is not None or not isinstance(key_id, str) or "\x00" in key_id:
            return None
        return await self._database.read(_public_key, key_id)

    def new_key(self) -> SigningKey:
        """Create a key pair that signs at once, its private key encrypted. The caller numbers and adds it."""
        key, jwk = _key_pair()
        while (key_id := thumbprint(jwk)).startswith("-"):  # commands would read the id as an option
            key, jwk = _key_pair()
        public = {"kty": "RSA", "n": jwk["n"], "e": jwk["e"], "use": "sig", "alg": "RS256", "kid": key_id}
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(self._passphrase),
        )
        return SigningKey(number=1, id=key_id, public_jwk=json.dumps(public), private_pem=pem.decode())

    def _load(self) -> bool:
        """Load the key that signs and those that will; return whether there are any."""
        with self._database.transaction(write=False) as session:
            usable = select(SigningKey).where(
                SIGNING_KEYS.c.killed.is_(None), SIGNING_KEYS.c.private_pem != ""
            )
            newest_first = usable.order_by(SIGNING_KEYS.c.number.desc()).limit(PUBLISHED_MAX)
            rows = session.execute(newest_first).scalars().all()
        moment, known, ring = now(), {key.id: key for key in self._ring}, []
        for row in rows:
            before = known.get(row.id)
            ring.append(self._opened(row) if before is None else replace(before, signs_from=row.signs_from))
            if row.signs_from <= moment:
                break
        self._ring = tuple(ring) or self._ring
        return bool(ring)

    def _add_first(self) -> None:
        made = self.new_key()
        try:
            with self._database.transaction() as session:
                session.add(made)
        except IntegrityError:
            return  # Another replica started at the same moment and was first: all replicas use its key.
        log.info("signing_key_created", key_id=made.id)

    def _opened(self, row: SigningKey) -> _Key:
        private = self._decrypt(row)
        return _Key(row.id, private, Signer.of_key(private, row.id), row.signs_from)

    def _decrypt(self, row: SigningKey) -> RSAPrivateKey:
        try:
            key = serialization.load_pem_private_key(row.private_pem.encode(), self._passphrase)
        except ValueError as error:
            raise SettingsError(
                "auth: KEY_SECRET is not the one that the signing keys in the database were encrypted with. "
                "Set the old one again, or delete the rows of signing_keys to make a new key and sign "
                "everybody out."
            ) from error
        assert isinstance(key, RSAPrivateKey)
        return key


def _public_keys(session: Session) -> list[dict[str, str]]:
    newest_first = (
        select(SIGNING_KEYS.c.public_jwk).where(*is_published()).order_by(SIGNING_KEYS.c.number.desc())
    )
    return [
        json.loads(row.public_jwk) for row in session.connection().execute(newest_first.limit(PUBLISHED_MAX))
    ]


def _public_key(session: Session, key_id: str) -> dict[str, str] | None:
    wanted = SIGNING_KEYS.c.id == key_id, SIGNING_KEYS.c.killed.is_(None)
    row = session.connection().execute(select(SIGNING_KEYS.c.public_jwk).where(*wanted)).first()
    return None if row is None else json.loads(row.public_jwk)


def is_published() -> tuple[ColumnElement[bool], ...]:
    """Select the keys to publish: from before they sign until their last token has expired."""
    lives = or_(SIGNING_KEYS.c.retires.is_(None), SIGNING_KEYS.c.retires > now())
    return SIGNING_KEYS.c.killed.is_(None), lives


def _spent() -> tuple[ColumnElement[bool], ...]:
    """Select retired keys whose private key is still stored."""
    return SIGNING_KEYS.c.retires <= now(), SIGNING_KEYS.c.private_pem != ""


def _key_pair() -> tuple[RSAPrivateKey, dict[str, Any]]:
    key = generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    return key, RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)


def thumbprint(jwk: dict[str, Any]) -> str:
    """Return the id of an RSA key, computed from the key (RFC 7638)."""
    canonical = json.dumps({name: jwk[name] for name in ("e", "kty", "n")}, separators=(",", ":"))
    return base64url_encode(hashlib.sha256(canonical.encode()).digest()).decode()
