"""JSON Web Signatures in compact form (RFC 7515): signers, which write tokens and sign them.

PyJWT encodes the header and checks the key anew for each token. Here both are done once for each key. Others
verify the tokens with PyJWT.
"""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable
from functools import partial
from typing import Any

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from pydantic_core import to_json

_PADDING, _HASH = PKCS1v15(), SHA256()


class Signer:
    """One key, and the headers of the tokens that it signs."""

    def __init__(self, algorithm: str, sign: Callable[[bytes], bytes], key_id: str | None = None) -> None:
        self._header = {"alg": algorithm} if key_id is None else {"alg": algorithm, "kid": key_id}
        self._sign = sign
        self._starts: dict[str, bytes] = {}  # the encoded headers, by kind of token

    @classmethod
    def of_secret(cls, secret: str) -> "Signer":
        return cls("HS256", partial(_hmac, secret.encode()))

    @classmethod
    def of_key(cls, key: RSAPrivateKey, key_id: str) -> "Signer":
        return cls("RS256", lambda content: key.sign(content, _PADDING, _HASH), key_id)

    def write(self, claims: dict[str, Any], kind: str) -> str:
        """Return a token with these claims; `kind` is its `typ`."""
        start = self._starts.get(kind)
        if start is None:
            start = self._starts[kind] = _base64url(to_json({**self._header, "typ": kind})) + b"."
        content = start + _base64url(to_json(claims))
        return (content + b"." + _base64url(self._sign(content))).decode()


def _hmac(secret: bytes, content: bytes) -> bytes:
    return hmac.digest(secret, content, "sha256")


def _base64url(content: bytes) -> bytes:
    return urlsafe_b64encode(content).rstrip(b"=")
