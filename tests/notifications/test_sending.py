"""Messages that admins send."""

from typing import Any

import httpx
import pytest

from shared.ids import new_id
from shared.testing import bearer, token
from tests.notifications.support import ADMIN, ADMIN_ID, ANN, BEN

MESSAGE = {"user_id": ANN, "title": "Your question", "content": "We raised your quota."}


async def test_message_of_an_admin_reaches_its_account_once(client: httpx.AsyncClient) -> None:
    headers = ADMIN | {"Idempotency-Key": new_id()}
    sent = await client.post("/notifications", json=MESSAGE, headers=headers)
    again = await client.post("/notifications", json=MESSAGE, headers=headers)

    assert (sent.status_code, again.status_code) == (201, 201)
    shown = (await client.get("/notifications", headers=bearer(token(ANN)))).json()
    assert shown == [sent.json()] == [again.json()]
    assert (shown[0]["type"], shown[0]["title"], shown[0]["severity"]) == ("message", "Your question", "info")
    assert (await client.get("/notifications", headers=bearer(token(BEN)))).json() == []
    assert (await client.get("/notifications", headers=bearer(token(ADMIN_ID)))).json() == []


async def test_only_admins_send_messages(client: httpx.AsyncClient) -> None:
    limited = bearer(token(ADMIN_ID, role="admin", scope="notifications:write"))
    for headers in (bearer(token(ANN)), limited):
        refused = await client.post("/notifications", json=MESSAGE, headers=headers)
        assert refused.status_code == 403


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"user_id": new_id()}, "user_id"),
        ({"user_id": "7"}, "user_id"),
        ({"title": " "}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"content": ""}, "content"),
        ({"content": "x" * 2001}, "content"),
        ({"content": "a\x00b"}, "content"),
        ({"severity": "deadly"}, "severity"),
        ({"type": "order.placed"}, "type"),
    ],
)
async def test_malformed_message_is_refused_with_422(
    client: httpx.AsyncClient, changes: dict[str, Any], field: str
) -> None:
    refused = await client.post("/notifications", json={**MESSAGE, **changes}, headers=ADMIN)

    assert refused.status_code == 422
    assert [one["field"] for one in refused.json()["errors"]] == [field]
