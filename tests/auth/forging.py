"""Forged tokens that must be refused, generated for every run."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

Json = dict[str, Any]
Sign = Callable[[bytes], bytes]


class Forger:
    """Makes tokens for one account: some with the issuer's own key, most with what an attacker has."""

    def __init__(self, good: str, jwks: Json, key: rsa.RSAPrivateKey, listener: str) -> None:
        self.good = good
        self.header: Json = jwt.get_unverified_header(good)
        self.claims: Json = jwt.decode(good, options={"verify_signature": False})
        self._jwks = jwks
        self._key = key
        self._own_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._listener = listener

    def signed(self, header: Json | None = None, **claims: Any) -> str:
        """Return a token signed by the issuer; claims and header fields given as None are omitted."""
        return self.token({**self.header, **(header or {})}, {**self.claims, **claims}, rs256(self._key))

    def token(self, header: Json, claims: Json, sign: Sign) -> str:
        kept = {name: value for name, value in header.items() if value is not None}
        told = {name: value for name, value in claims.items() if value is not None}
        return self.raw(json.dumps(kept), json.dumps(told), sign)

    def raw(self, header: str, claims: str, sign: Sign) -> str:
        signed = f"{encode(header.encode())}.{encode(claims.encode())}"
        return f"{signed}.{encode(sign(signed.encode()))}"

    def attacks(self) -> Iterator[tuple[str, str]]:
        yield from self._without_signature()
        yield from self._with_the_public_key_as_secret()
        yield from self._with_a_key_of_ones_own()
        yield from self._key_ids()
        yield from self._other_algorithms()
        yield from self._true_signature_on_a_bad_header()
        yield from self._true_signature_on_bad_claims()
        yield from self._broken()

    def _without_signature(self) -> Iterator[tuple[str, str]]:
        head, body, signature = self.good.split(".")
        for alg in ("none", "None", "NONE", "nOnE", "", "null"):
            yield f"alg {alg}", self.token(self.header | {"alg": alg}, self.claims, lambda _: b"")
            yield f"alg {alg} signed", self.token(self.header | {"alg": alg}, self.claims, rs256(self._key))
        yield "no signature", f"{head}.{body}."
        yield "two parts", f"{head}.{body}"
        yield "four parts", f"{self.good}.{signature}"
        raised = encode(json.dumps(self.claims | {"role": "admin"}).encode())
        yield "raised role", f"{head}.{raised}.{signature}"
        last = "A" if signature[-5] != "A" else "B"
        yield "changed signature", f"{head}.{body}.{signature[:-5]}{last}{signature[-4:]}"

    def _with_the_public_key_as_secret(self) -> Iterator[tuple[str, str]]:
        public = self._key.public_key()
        spki = serialization.PublicFormat.SubjectPublicKeyInfo
        pem = public.public_bytes(serialization.Encoding.PEM, spki)
        published = self._jwks["keys"][0]
        secrets = {
            "PEM": pem,
            "stripped PEM": pem.strip(),
            "CRLF PEM": pem.replace(b"\n", b"\r\n"),
            "PKCS1": public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1),
            "DER": public.public_bytes(serialization.Encoding.DER, spki),
            "JWK": json.dumps(published).encode(),
            "compact JWK": json.dumps(published, separators=(",", ":")).encode(),
            "JWKS": json.dumps(self._jwks, separators=(",", ":")).encode(),
            "modulus": published["n"].encode(),
            "key id": published["kid"].encode(),
            "nothing": b"",
            "a zero byte": b"\0",
            "secret": b"secret",
            "placeholder": b"your-very-secret-jwt-key",
        }
        for name, secret in secrets.items():
            for digest, alg in (("sha256", "HS256"), ("sha512", "HS512")):
                header = self.header | {"alg": alg}
                yield f"{alg} with {name}", self.token(header, self.claims, hs(secret, digest))

    def _with_a_key_of_ones_own(self) -> Iterator[tuple[str, str]]:
        own = rs256(self._own_key)
        jwk = jwt.algorithms.RSAAlgorithm.to_jwk(self._own_key.public_key(), as_dict=True)
        kid = self.header["kid"]
        yield "another key", self.token(self.header, self.claims, own)
        yield "embedded jwk", self.token(self.header | {"jwk": jwk | {"kid": kid}}, self.claims, own)
        for field in ("jku", "x5u"):
            yield field, self.token(self.header | {field: self._listener}, self.claims, own)
            header = self.header | {field: self._listener, "kid": "elsewhere"}
            yield f"{field} with a new kid", self.token(header, self.claims, own)
        yield "x5c", self.token(self.header | {"x5c": ["MIIB"]}, self.claims, own)

    def _key_ids(self) -> Iterator[tuple[str, str]]:
        kids = ["../../../../dev/null", "' OR 1=1 --", "x" * 5000, "", 7, 1.5, True, [], ["a"], {}, "\0", "é"]
        for kid in kids:
            own, true = rs256(self._own_key), rs256(self._key)
            yield f"kid {str(kid)[:20]}", self.token(self.header | {"kid": kid}, self.claims, own)
            yield f"true kid {str(kid)[:20]}", self.token(self.header | {"kid": kid}, self.claims, true)
        yield "no kid", self.token(self.header | {"kid": None}, self.claims, rs256(self._key))
        yield "dev null", self.token(self.header | {"kid": "/dev/null"}, self.claims, hs(b"", "sha256"))

    def _other_algorithms(self) -> Iterator[tuple[str, str]]:
        header, claims = self.header, self.claims
        p256, p384 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
        yield "ES256 of zeros", self.token(header | {"alg": "ES256"}, claims, lambda _: bytes(64))
        yield "ES256", self.token(header | {"alg": "ES256"}, claims, es(p256, 32))
        yield "ES256 with P-384", self.token(header | {"alg": "ES256"}, claims, es(p384, 48))
        yield "PS256", self.token(header | {"alg": "PS256"}, claims, ps256(self._key))
        yield "RS384", self.token(header | {"alg": "RS384"}, claims, rs(self._key, hashes.SHA384()))
        yield "RS512 declared as RS256", self.token(header, claims, rs(self._key, hashes.SHA512()))
        unknown: list[Any] = [7, [], ["RS256"], {}, True, "rs256", "RS256 ", "EdDSA", "dir", "x" * 1000]
        for alg in unknown:
            yield f"alg {str(alg)[:20]!r}", self.token(header | {"alg": alg}, claims, rs256(self._key))

    def _true_signature_on_a_bad_header(self) -> Iterator[tuple[str, str]]:
        for kind in ("JWT", "", None, ["at+jwt"], "at+jwt ", "id+jwt"):
            yield f"typ {kind}", self.signed({"typ": kind})
        header, claims = json.dumps(self.header), json.dumps(self.claims)
        for name in ("alg", "kid", "typ"):
            again = f"{header[:-1]}, {json.dumps(name)}: {json.dumps(self.header[name])}}}"
            yield f"{name} twice", self.raw(again, claims, rs256(self._key))
        for name in ("sub", "role", "exp"):
            again = f'{{{json.dumps(name)}: "x", {claims[1:]}'
            yield f"{name} twice", self.raw(header, again, rs256(self._key))
        nested = f'{claims[:-1]}, "more": {{"a": 1, "a": 2}}}}'
        yield "twice inside", self.raw(header, nested, rs256(self._key))
        true, claims, kid = rs256(self._key), json.dumps(self.claims), self.header["kid"]
        yield "unknown crit", self.signed({"crit": ["exp-in-moons"], "exp-in-moons": 1})
        yield "empty crit", self.signed({"crit": []})
        yield "b64 false", self.signed({"crit": ["b64"], "b64": False})
        yield "no alg", self.signed({"alg": None})
        twice = f'{{"alg":"RS256","kid":"{kid}","alg":"none"}}'
        yield "alg twice", self.raw(twice, claims, true)
        for name, header in {
            "a list": "[]",
            "a string": '"RS256"',
            "null": "null",
            "nothing": "",
            "not JSON": "{",
            "deep": "[" * 1000 + "]" * 1000,
            "deeper": '{"a":' * 2000 + "1" + "}" * 2000,
        }.items():
            yield f"header is {name}", self.raw(header, claims, true)

    def _true_signature_on_bad_claims(self) -> Iterator[tuple[str, str]]:
        now = int(time.time())
        bad: list[tuple[str, Json]] = [
            ("expired", {"exp": now - 60}),
            ("no exp", {"exp": None}),
            ("exp string", {"exp": "tomorrow"}),
            ("exp list", {"exp": [now + 60]}),
            ("exp infinite", {"exp": float("inf")}),
            ("exp nan", {"exp": float("nan")}),
            ("exp huge", {"exp": 10**400}),
            ("exp negative", {"exp": -1}),
            ("not yet", {"nbf": now + 600}),
            ("nbf infinite", {"nbf": float("inf")}),
            ("iat in the future", {"iat": now + 600}),
            ("no iat", {"iat": None}),
            ("iat string", {"iat": "today"}),
            ("iat infinite", {"iat": float("inf")}),
            ("other issuer", {"iss": "https://evil.example"}),
            ("issuer list", {"iss": ["gatehouse"]}),
            ("no issuer", {"iss": None}),
            ("other audience", {"aud": "another"}),
            ("audience list of others", {"aud": ["a", "b"]}),
            ("audience number", {"aud": 7}),
            ("audience of numbers", {"aud": [7]}),
            ("no audience", {"aud": None}),
            ("internal audience", {"aud": "internal:auth"}),
            ("no sub", {"sub": None}),
            ("sub number", {"sub": 7}),
            ("sub empty", {"sub": ""}),
            ("sub list", {"sub": ["a"]}),
            ("role list", {"role": ["admin"]}),
            ("no session", {"sid": None}),
            ("unknown session", {"sid": "00000000-0000-7000-8000-000000000000"}),
            ("session with a quote", {"sid": "' OR 1=1 --"}),
            ("session number", {"sid": 7}),
            ("session with a zero byte", {"sid": "\0"}),
            ("another account", {"sub": "00000000-0000-7000-8000-000000000000"}),
            ("sub with a zero byte", {"sub": "\0"}),
        ]
        for name, claims in bad:
            yield name, self.signed(**claims)
        true, header = rs256(self._key), json.dumps(self.header)
        for body in ("", "{", "[]", "null", "7", '"x"', '{"sub":' * 2000):
            yield f"claims {body[:8]}", self.raw(header, body, true)

    def _broken(self) -> Iterator[tuple[str, str]]:
        yield "dots", ".."
        yield "one dot", "."
        yield "nothing encoded", "e30.e30."
        yield "long", "x" * 9000
        yield "long parts", ".".join(["x" * 4000] * 3)
        yield "padding", self.good + "=="
        yield "leading dot", "." + self.good
        yield "percent", self.good.replace("e", "%65")
        yield "two tokens", f"{self.good} {self.good}"
        yield "two tokens with a comma", f"{self.good},{self.good}"
        yield "quotes", f'"{self.good}"'


def rs(key: rsa.RSAPrivateKey, algorithm: hashes.HashAlgorithm) -> Sign:
    return lambda message: key.sign(message, padding.PKCS1v15(), algorithm)


def rs256(key: rsa.RSAPrivateKey) -> Sign:
    return rs(key, hashes.SHA256())


def ps256(key: rsa.RSAPrivateKey) -> Sign:
    salted = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    return lambda message: key.sign(message, salted, hashes.SHA256())


def hs(secret: bytes, digest: str) -> Sign:
    return lambda message: hmac.digest(secret, message, getattr(hashlib, digest))


def es(key: ec.EllipticCurvePrivateKey, size: int) -> Sign:
    def sign(message: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(size) + s.to_bytes(size)

    return sign


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
