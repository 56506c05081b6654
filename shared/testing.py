"""Helpers for tests that run a real service: its application on a migrated database, and tokens."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx
import jwt
from starlette.applications import Starlette

from shared.data.migrate import upgrade
from shared.ids import new_id
from shared.process.settings import ServiceSettings

S = TypeVar("S", bound=ServiceSettings)

TEST_JWT_SECRET = "6d1f0c7ab04b4f0e9c2f5b1d8e3a97c4"  # noqa: S105 - only ever used by tests
TEST_INTERNAL_SECRET = "b7e2a9d450c84f1186f3c0d2917e5ba8"  # noqa: S105 - only ever used by tests

# Modules sign tokens on import, which may be long before their tests run.
TOKEN_SECONDS = 24 * 3600


@asynccontextmanager
async def running(
    create_app: Callable[[S], Starlette], settings: S, *, raise_app_exceptions: bool = True
) -> AsyncIterator[httpx.AsyncClient]:
    """Run the application on a migrated database, and yield a client of it."""
    upgrade(settings.database_url, settings.migrations())
    app = create_app(settings)
    transport = httpx.ASGITransport(app, raise_app_exceptions=raise_app_exceptions)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as client,
    ):
        yield client


def token(user_id: str | None = None, *, role: str = "user", **claims: Any) -> str:
    """Return a token as auth would sign it with JWT_SECRET; claims that are None are left out."""
    now = int(time.time())
    user_id = user_id or new_id()
    every = {
        "sub": user_id,
        "user_id": user_id,
        "username": f"user-{user_id[-6:]}",
        "email": f"{user_id[-6:]}@example.com",
        "role": role,
        "iss": "gatehouse",
        "aud": "gatehouse",
        "iat": now,
        "exp": now + TOKEN_SECONDS,
        "jti": new_id(),
        "sid": new_id(),
        **claims,
    }
    kept = {name: value for name, value in every.items() if value is not None}
    return jwt.encode(kept, TEST_JWT_SECRET, algorithm="HS256", headers={"typ": "at+jwt"})


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def internal_token(audience: str, *, issuer: str = "test", seconds: int = TOKEN_SECONDS) -> str:
    now = int(time.time())
    claims = {"iss": issuer, "aud": f"internal:{audience}", "iat": now, "exp": now + seconds}
    return jwt.encode(claims, TEST_INTERNAL_SECRET, algorithm="HS256")
