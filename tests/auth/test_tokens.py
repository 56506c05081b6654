"""Access tokens and the key set: what is accepted, and what is refused."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from services.auth.app import create_app
from services.auth.key_models import SigningKey
from services.auth.keys.compact import Signer
from services.auth.keys.signing_keys import SigningKeys, thumbprint
from services.auth.settings import Settings
from shared.data.database import Database
from shared.process.settings import SettingsError
from shared.testing import TEST_INTERNAL_SECRET, TEST_JWT_SECRET, bearer, internal_token, running
from tests.auth.forging import Forger
from tests.auth.support import register, rows


@asynccontextmanager
async def listener() -> AsyncIterator[tuple[str, list[str]]]:
    """A web server that only records connections."""
    came: list[str] = []

    async def note(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append("somebody")
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys.json", came


class TestAttacks:
    @pytest.mark.conforms("RFC 8725 3.1")
    async def test_forged_tokens_are_refused_J1(self, make_auth_settings: Callable[..., Settings]) -> None:
        settings = make_auth_settings()
        async with running(create_app, settings) as auth, listener() as (address, came):
            good = (await register(auth, username="ann"))["token"]
            jwks = (await auth.get("/.well-known/jwks.json")).json()
            forger = Forger(good, jwks, _private_key(settings), address)
            attacks = dict(forger.attacks())
            believed = {name: await _faults(auth, token) for name, token in attacks.items()}

            assert {name: faults for name, faults in believed.items() if faults} == {}
            assert len(attacks) > 120
            assert came == []
            # Valid tokens made by the forger are accepted, so refusals are due to the faults.
            for token in (forger.signed(), forger.signed(aud=["other", "gatehouse"]), good):
                assert (await auth.get("/auth/me", headers=bearer(token))).status_code == 200

    async def test_only_the_shared_secret_signs_if_one_is_set(
        self, make_auth_settings: Callable[..., Settings]
    ) -> None:
        async with running(create_app, make_auth_settings(jwt_secret=TEST_JWT_SECRET)) as auth:
            good = (await register(auth))["token"]
            claims = jwt.decode(good, options={"verify_signature": False})
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            forged = [
                jwt.encode(claims, key, algorithm="RS256", headers={"typ": "at+jwt"}),
                jwt.encode(claims, "", algorithm="none", headers={"typ": "at+jwt"}),
                jwt.encode(claims, TEST_INTERNAL_SECRET, algorithm="HS256", headers={"typ": "at+jwt"}),
                jwt.encode(claims, TEST_JWT_SECRET * 2, algorithm="HS512", headers={"typ": "at+jwt"}),
                jwt.encode(
                    claims, TEST_JWT_SECRET * 2, algorithm="HS256", headers={"kid": "x", "typ": "at+jwt"}
                ),
                jwt.encode(
                    claims | {"exp": 1}, TEST_JWT_SECRET, algorithm="HS256", headers={"typ": "at+jwt"}
                ),
            ]

            assert [await _faults(auth, token) for token in forged] == [[]] * len(forged)
            assert jwt.get_unverified_header(good)["alg"] == "HS256"
            assert (await auth.get("/auth/me", headers=bearer(good))).status_code == 200

    @pytest.mark.conforms("RFC 8725 3.11")
    async def test_other_kinds_of_tokens_are_refused_J2(self, auth: httpx.AsyncClient) -> None:
        registered = await register(auth)

        assert await _faults(auth, registered["refresh_token"]) == []
        assert await _faults(auth, internal_token("auth")) == []

    @pytest.mark.parametrize(
        "authorization", ["Bearer", "Bearer ", "Basic YTpi", "Bearer  x", "x", "", "Bearer\tx", "Bearer é"]
    )
    async def test_malformed_authorization_header_is_rejected_with_401(
        self, auth: httpx.AsyncClient, authorization: str
    ) -> None:
        headers = {b"Authorization": authorization.encode("latin-1")}
        response = await auth.get("/auth/me", headers=headers)

        assert response.status_code == 401
        assert response.headers["www-authenticate"].startswith("Bearer")

    @pytest.mark.conforms("RFC 9700 4.3.2")
    async def test_token_in_the_query_is_ignored_B6(self, auth: httpx.AsyncClient) -> None:
        token = (await register(auth))["token"]
        response = await auth.get(f"/auth/me?access_token={token}")

        assert response.status_code == 401

    async def test_scheme_is_case_insensitive(self, auth: httpx.AsyncClient) -> None:
        token = (await register(auth))["token"]
        for scheme in ("bearer", "BEARER"):
            response = await auth.get("/auth/me", headers={"Authorization": f"{scheme} {token}"})

            assert response.status_code == 200


class TestKeySet:
    @pytest.mark.conforms("RFC 7517 4")
    async def test_key_set_contains_only_the_public_key_J4(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        response = await auth.get("/.well-known/jwks.json")

        assert response.status_code == 200
        assert response.headers["cache-control"] == "public, max-age=300"
        [key] = response.json()["keys"]
        assert key.keys() == {"kty", "n", "e", "use", "alg", "kid"}
        assert key["kid"] == thumbprint(key)
        token = (await register(auth))["token"]
        assert jwt.get_unverified_header(token)["kid"] == key["kid"]
        claims = jwt.decode(token, jwt.PyJWK(key), algorithms=["RS256"], audience="gatehouse")
        assert claims["iss"] == "gatehouse"

    @pytest.mark.conforms("RFC 7638 3")
    def test_key_id_is_the_thumbprint_of_rfc_7638_J4(self) -> None:
        # The example in section 3.1 of the RFC.
        modulus = (
            "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZ"
            "CiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJ"
            "ZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBn"
            "iIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
        )
        jwk = {"kty": "RSA", "n": modulus, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}

        assert thumbprint(jwk) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"

    async def test_key_survives_a_restart(
        self, make_auth_settings: Callable[..., Settings], database_url: str
    ) -> None:
        async with running(create_app, make_auth_settings()) as auth:
            token = (await register(auth))["token"]
        async with running(create_app, make_auth_settings()) as auth:
            assert (await auth.get("/auth/me", headers=bearer(token))).status_code == 200
        assert len(rows(database_url, SigningKey)) == 1

    async def test_private_key_is_encrypted_J5(self, auth: httpx.AsyncClient, database_url: str) -> None:
        [row] = rows(database_url, SigningKey)

        assert row["private_pem"].startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        with pytest.raises(TypeError, match=r"[Pp]assword was not given"):
            serialization.load_pem_private_key(row["private_pem"].encode(), None)
        assert '"d"' not in row["public_jwk"]

    async def test_different_key_secret_prevents_the_start(
        self, make_auth_settings: Callable[..., Settings]
    ) -> None:
        async with running(create_app, make_auth_settings()):
            pass
        with pytest.raises(SettingsError, match="KEY_SECRET is not the one"):
            async with running(create_app, make_auth_settings(key_secret="0f9e8d7c6b5a49382716051423324150")):
                pass

    async def test_key_set_is_empty_with_a_shared_secret(
        self, make_auth_settings: Callable[..., Settings], database_url: str
    ) -> None:
        async with running(create_app, make_auth_settings(jwt_secret=TEST_JWT_SECRET)) as auth:
            response = await auth.get("/.well-known/jwks.json")

        assert response.json() == {"keys": []}
        assert rows(database_url, SigningKey) == []

    async def test_added_key_is_published_and_signs(
        self,
        make_auth_settings: Callable[..., Settings],
        database_url: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        settings = make_auth_settings()
        async with running(create_app, settings) as auth:
            database = Database(database_url, pool_size=1)
            monkeypatch.setattr(
                "services.auth.keys.signing_keys.generate_private_key", rsa.generate_private_key
            )
            with database.transaction() as session:
                second = SigningKeys(settings, database).new_key()
                second.number = 2
                session.add(second)
            database.close()
            published = (await auth.get("/.well-known/jwks.json")).json()["keys"]

        newest_first = sorted(rows(database_url, SigningKey), key=lambda row: -row["number"])
        assert [key["kid"] for key in published] == [row["id"] for row in newest_first]
        async with running(create_app, settings) as auth:
            token = (await register(auth))["token"]
            assert jwt.get_unverified_header(token)["kid"] == newest_first[0]["id"]
            assert (await auth.get("/auth/me", headers=bearer(token))).status_code == 200


class TestSigner:
    CLAIMS: ClassVar[dict[str, Any]] = {"sub": "zoë", "aud": ["a", "b"], "exp": 2**33, "act": {"sub": "…"}}

    def test_header_and_claims_are_those_that_were_given(self) -> None:
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        signer = Signer.of_key(private, "key-1")
        for kind in ("at+jwt", "JWT", "at+jwt"):
            token = signer.write(self.CLAIMS, kind)

            read = jwt.decode(token, private.public_key(), algorithms=["RS256"], audience="b")
            assert read == self.CLAIMS
            assert jwt.get_unverified_header(token) == {"alg": "RS256", "kid": "key-1", "typ": kind}
            assert "=" not in token

    def test_shared_secret_signs_as_pyjwt_does(self) -> None:
        token = Signer.of_secret(TEST_JWT_SECRET).write(self.CLAIMS, "at+jwt")

        assert jwt.decode(token, TEST_JWT_SECRET, algorithms=["HS256"], audience="a") == self.CLAIMS
        assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "at+jwt"}


def _private_key(settings: Settings) -> rsa.RSAPrivateKey:
    database = Database(settings.database_url, pool_size=1)
    keys = SigningKeys(settings, database)
    keys.prepare()
    database.close()
    return keys._ring[0].private


async def _faults(auth: httpx.AsyncClient, token: str) -> list[str]:
    """Return what is wrong with the response to a token that must be refused."""
    response = await auth.get("/auth/me", headers={b"Authorization": b"Bearer " + token.encode("latin-1")})
    faults = [] if response.status_code == 401 else [f"{response.status_code} {response.text}"]
    if not response.headers.get("www-authenticate", "").startswith('Bearer error="invalid_token"'):
        faults.append(str(response.headers))
    if json.loads(response.content).get("code") != "invalid_token":
        faults.append(response.text)
    return faults
