"""The keys that sign tokens: created at the first start, stored encrypted in the database."""

import hashlib
import hmac
import json
from typing import Any

import jwt
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm
from jwt.utils import base64url_encode
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from services.auth.models import SIGNING_KEYS, SigningKey
from services.auth.settings import Settings
from shared.data.database import Database
from shared.process.settings import SettingsError

RSA_BITS = 2048
PUBLISHED_MAX = 10
ACCESS_TOKEN_TYPE = "at+jwt"  # noqa: S105 - a token type of RFC 9068

log = structlog.get_logger(__name__)


class SigningKeys:
    """Signs with RS256 and publishes the key set; with JWT_SECRET, signs with HS256 and publishes none."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._secret = settings.jwt_secret
        self._passphrase = derived_key(settings.key_secret.get_secret_value(), "signing keys").hex().encode()
        self._key: RSAPrivateKey | None = None
        self._key_id = ""

    def prepare(self) -> None:
        """Load the newest key from the database, or create the first one."""
        if self._secret is not None:
            return
        newest = self._newest() or self._make_first()
        self._key_id = newest.id
        self._key = self._decrypt(newest)

    @property
    def are_public(self) -> bool:
        """Whether others can verify signatures without being able to sign."""
        return self._secret is None

    def sign(self, claims: dict[str, Any], kind: str = ACCESS_TOKEN_TYPE) -> str:
        headers = {"typ": kind}
        if self._secret is not None:
            return jwt.encode(claims, self._secret.get_secret_value(), algorithm="HS256", headers=headers)
        assert self._key is not None
        return jwt.encode(claims, self._key, algorithm="RS256", headers={**headers, "kid": self._key_id})

    async def document(self) -> dict[str, Any]:
        """Return the public key set (RFC 7517)."""
        if self._secret is not None:
            return {"keys": []}
        return {"keys": await self._database.read(_public_keys)}

    def _newest(self) -> SigningKey | None:
        with self._database.transaction(write=False) as session:
            newest = select(SigningKey).order_by(SIGNING_KEYS.c.number.desc()).limit(1)
            return session.execute(newest).scalar_one_or_none()

    def _make_first(self) -> SigningKey:
        made = self._encrypt(generate_private_key(public_exponent=65537, key_size=RSA_BITS), number=1)
        try:
            with self._database.transaction() as session:
                session.add(made)
        except IntegrityError:
            # Another replica started at the same time and was first: all replicas use its key.
            newest = self._newest()
            assert newest is not None
            return newest
        log.info("signing_key_created", key_id=made.id)
        return made

    def _encrypt(self, key: RSAPrivateKey, *, number: int) -> SigningKey:
        jwk = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        key_id = thumbprint(jwk)
        public = {"kty": "RSA", "n": jwk["n"], "e": jwk["e"], "use": "sig", "alg": "RS256", "kid": key_id}
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(self._passphrase),
        )
        return SigningKey(number=number, id=key_id, public_jwk=json.dumps(public), private_pem=pem.decode())

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
    newest_first = select(SIGNING_KEYS.c.public_jwk).order_by(SIGNING_KEYS.c.number.desc())
    return [
        json.loads(row.public_jwk) for row in session.connection().execute(newest_first.limit(PUBLISHED_MAX))
    ]


def thumbprint(jwk: dict[str, Any]) -> str:
    """Return the id of an RSA key, computed from the key (RFC 7638)."""
    canonical = json.dumps({name: jwk[name] for name in ("e", "kty", "n")}, separators=(",", ":"))
    return base64url_encode(hashlib.sha256(canonical.encode()).digest()).decode()


def derived_key(secret: str, purpose: str) -> bytes:
    """Derive a key for one purpose; it reveals neither the secret nor the keys of other purposes."""
    return hmac.digest(secret.encode(), f"gatehouse {purpose}".encode(), "sha256")
