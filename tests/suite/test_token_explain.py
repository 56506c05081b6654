"""`gatehouse token explain` against a running suite: why a credential is refused, and by whom."""

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gatehouse import cli
from shared.testing import bearer
from tests.auth.oauth.support import sign_in
from tests.auth.support import register
from tests.suite.conftest import Suite

Explain = Callable[..., Awaitable[tuple[int, dict[str, str], str]]]


@pytest.fixture
def explain(suite: Suite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Explain:
    """The command in this process, with the environment of the suite; the credential comes from stdin."""
    for name, value in suite.environment.items():
        monkeypatch.setenv(name, value)

    async def explain(credential: str, *arguments: str) -> tuple[int, dict[str, str], str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(credential))
        code = await asyncio.to_thread(cli.main, ["token", "explain", "--json", *arguments])
        found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
        refused = next((one["refuses"] for one in found if one["refuses"]), "")
        return code, {one["name"]: one["words"] for one in found}, refused

    return explain


async def test_a_token_is_explained_from_sign_in_to_sign_out(suite: Suite, explain: Explain) -> None:
    async with suite.client() as client:
        person = await register(client)
        code, said, _ = await explain(f"Bearer {person['token']}\n", "--path", "/orders")

        assert (code, said["result"]) == (0, "accepted")
        assert (said["kind"], said["signature"]) == ("access token of a person who signed in", "valid")
        assert said["scopes"] == "everything that the role user allows, because a person signed in"
        assert said["operation"] == "list_orders of orders: a person, or the scope orders:read"
        code, said, refused = await explain(person["token"], "--path", "/clients")
        assert (code, refused) == (1, "auth, list_clients: 403 forbidden")
        await client.post("/auth/logout", headers=bearer(person["token"]))
        code, said, refused = await explain(person["token"])
        assert (code, refused) == (1, "gateway: 401 invalid_token")
        assert "it was ended at" in said["session"]


async def test_a_personal_access_token_is_refused_by_an_operation_outside_its_scopes(
    suite: Suite, explain: Explain
) -> None:
    async with suite.client() as client:
        person = await register(client)
        body = {"name": "nightly", "scopes": ["orders:read"]}
        key = (await client.post("/auth/me/tokens", json=body, headers=bearer(person["token"]))).json()

    assert (await explain(key["token"], "--path", "/orders/7"))[0] == 0
    code, said, refused = await explain(key["token"], "--path", "/orders", "--method", "post")
    assert (code, refused) == (1, "orders, place_order: 403 insufficient_scope")
    assert said["kind"] == "personal access token"
    code, _, refused = await explain(key["token"], "--path", "/internal/accounts")
    assert (code, refused) == (1, "gateway: the gateway's own response, or 404 not_found")


async def test_cookies_refresh_tokens_and_garbage_are_distinguished(
    suite: Suite, explain: Explain, tmp_path: Path
) -> None:
    async with suite.client() as client:
        person = await register(client)
        assert (await sign_in(client, person["user"]["email"])).status_code == 303
        cookie = client.cookies["session"]

    assert (await explain(cookie, "--path", "/orders"))[1]["kind"] == "session cookie"
    assert (await explain(person["refresh_token"]))[1]["kind"] == "refresh token"
    file = tmp_path / "credential"
    file.write_text("what is this\n")
    code, said, _ = await explain("", "--file", str(file))
    assert (code, said["kind"][:13]) == (1, "neither a JWT")


async def test_without_auth_the_result_is_uncertain(
    explain: Explain, suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with suite.client() as client:
        token = (await register(client))["token"]
    monkeypatch.setenv("AUTH_URL", "http://127.0.0.1:9")
    code, said, _ = await explain(token)

    assert code == 2
    assert "could not be reached" in said["auth"]
    assert said["kind"] == "access token of a person who signed in"


def test_missing_unreadable_or_malformed_credential_ends_with_2(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, value in suite.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))

    assert cli.main(["token", "explain"]) == 2
    assert cli.main(["token", "explain", "--file", str(tmp_path / "missing")]) == 2
    assert cli.main(["token", "explain", "é"]) == 2
    assert "no credential given" in capsys.readouterr().err
