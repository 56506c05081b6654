"""The caller's preferences: a small JSON object, replaced as a whole."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from shared.testing import bearer, token
from tests.users.support import NOWHERE, StartUsers, fields_of, register

ADDRESS = "/users/me/preferences"


class TestShowPreferences:
    async def test_preferences_are_empty_at_first(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await register(auth)
        response = await users.get(ADDRESS, headers=ada.headers)

        assert response.status_code == 200
        assert response.json() == {}
        assert response.headers["etag"] == '"0"'

    @pytest.mark.parametrize("method", ["GET", "PUT"])
    async def test_request_without_token_is_rejected_with_401(
        self, users: httpx.AsyncClient, method: str
    ) -> None:
        body = {"a": 1} if method == "PUT" else None
        assert (await users.request(method, ADDRESS, json=body)).status_code == 401


class TestPutPreferences:
    @pytest.mark.parametrize(
        "preferences",
        [
            {"language": "de", "timezone": "Europe/Berlin", "ui.theme": "dark", "page-size": 50, "on": True},
            {"version": 7, "entries": {"nested": [1, 2.5, None, {"a": "b"}]}, "off": False, "none": None},
            {"text": 'a"b\\u0000 é 😀', "large": 2**63, "k" * 64: ""},
            {f"key_{number}": number for number in range(100)},
            {},
        ],
    )
    async def test_stored_preferences_are_returned_unchanged(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, preferences: dict[str, Any]
    ) -> None:
        ada = await register(auth)
        put = await users.put(ADDRESS, json=preferences, headers=ada.headers)
        shown = await users.get(ADDRESS, headers=ada.headers)

        assert put.status_code == 200, put.text
        assert put.json() == shown.json() == preferences
        assert put.headers["etag"] == shown.headers["etag"] == '"1"'

    async def test_put_replaces_all_preferences(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await register(auth)
        await users.put(ADDRESS, json={"language": "de", "theme": "dark"}, headers=ada.headers)
        response = await users.put(ADDRESS, json={"theme": "light"}, headers=ada.headers)

        assert response.json() == {"theme": "light"}
        assert response.headers["etag"] == '"2"'

    async def test_preferences_belong_to_one_account(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada, other = await register(auth), await register(auth)
        await users.put(ADDRESS, json={"theme": "dark"}, headers=ada.headers)
        forged = {"X-User-Id": ada.id}
        await users.put(ADDRESS, json={"theme": "light"}, headers=other.headers | forged)

        assert (await users.get(ADDRESS, headers=ada.headers)).json() == {"theme": "dark"}
        assert (await users.get(ADDRESS, headers=other.headers | forged)).json() == {"theme": "light"}

    @pytest.mark.parametrize(
        "body",
        [
            "[]",
            '"text"',
            "null",
            '{"a b": 1}',
            '{"": 1}',
            '{"a\\n": 1}',
            '{"é": 1}',
            '{"%s": 1}' % ("k" * 65),
            '{"a": "\\u0000"}',
            '{"a": [{"\\u0000": 1}]}',
            '{"a": NaN}',
            '{"a": [1e999]}',
            json.dumps({f"key_{number}": number for number in range(101)}),
        ],
    )
    async def test_malformed_input_is_rejected_with_422(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, body: str
    ) -> None:
        ada = await register(auth)
        headers = ada.headers | {"Content-Type": "application/json"}
        response = await users.put(ADDRESS, content=body, headers=headers)

        assert response.status_code == 422, response.text
        assert len(fields_of(response)) == 1

    @pytest.mark.parametrize("body", ["", "{", '{"a": "\\ud800"}', '{"a": ' + "[" * 5000 + "]" * 5000 + "}"])
    async def test_invalid_json_is_rejected_with_400(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, body: str
    ) -> None:
        ada = await register(auth)
        headers = ada.headers | {"Content-Type": "application/json"}
        response = await users.put(ADDRESS, content=body, headers=headers)

        assert response.status_code == 400

    async def test_preferences_of_more_than_16_kib_are_rejected_with_413(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await register(auth)
        room = 16 * 1024 - len('{"a":""}')
        fits = await users.put(ADDRESS, json={"a": "x" * room}, headers=ada.headers)
        too_large = await users.put(ADDRESS, json={"a": "x" * (room + 1)}, headers=ada.headers)

        assert fits.status_code == 200
        assert too_large.status_code == 413

    async def test_stale_version_is_rejected_with_412(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await register(auth)
        first = ada.headers | {"If-Match": '"0"'}

        assert (await users.put(ADDRESS, json={"a": 1}, headers=first)).status_code == 200
        assert (await users.put(ADDRESS, json={"a": 2}, headers=first)).status_code == 412
        assert (await users.get(ADDRESS, headers=ada.headers)).json() == {"a": 1}

    async def test_of_twenty_parallel_first_writes_one_wins(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await register(auth)
        first = ada.headers | {"If-Match": '"0"'}
        responses = await asyncio.gather(
            *[users.put(ADDRESS, json={"n": n}, headers=first) for n in range(20)]
        )

        assert sorted(response.status_code for response in responses) == [200] + [412] * 19

    async def test_twenty_parallel_writes_without_a_version_all_succeed(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await register(auth)
        responses = await asyncio.gather(
            *[users.put(ADDRESS, json={"n": n}, headers=ada.headers) for n in range(20)]
        )

        assert {response.status_code for response in responses} == {200}
        assert (await users.get(ADDRESS, headers=ada.headers)).headers["etag"] == '"20"'

    async def test_token_without_an_account_is_404(self, users: httpx.AsyncClient) -> None:
        response = await users.put(ADDRESS, json={"a": 1}, headers=bearer(token()))

        assert response.status_code == 404

    async def test_unknown_account_is_503_while_auth_is_down(self, start_users: StartUsers) -> None:
        async with start_users(NOWHERE) as alone:
            response = await alone.put(ADDRESS, json={"a": 1}, headers=bearer(token()))

        assert response.status_code == 503
