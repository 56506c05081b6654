"""The account endpoints for admins."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyotp
import pytest
from sqlalchemy import event, insert

from services.auth.administration import accounts
from services.auth.administration.schemas import ListAccounts
from services.auth.models import ACCOUNTS, EVENTS
from shared.data.database import Database
from shared.data.migrate import upgrade
from shared.testing import bearer
from tests.auth.mailbox import Mailbox
from tests.auth.oauth.support import admin_token
from tests.auth.support import a_name, login, refresh, register
from tests.auth.test_factors import Clock, enrolled
from tests.told import account_events, records

PATH = "/auth/accounts"
WHY = {"reason": "compromised", "note": "laptop stolen"}
PLAN_ROWS = 20_000
STEPS, STEPS_MAX = (
    50,
    20_000,
)  # instructions of SQLite's virtual machine; reading all rows takes ten times as many


@pytest.fixture
async def admin(auth: httpx.AsyncClient) -> dict[str, str]:
    return bearer(await admin_token(auth))


async def listed(auth: httpx.AsyncClient, headers: dict[str, str], **query: str) -> list[str]:
    response = await auth.get(PATH, params=query, headers=headers)
    assert response.status_code == 200, response.text
    return [one["id"] for one in response.json()]


async def change(
    auth: httpx.AsyncClient, headers: dict[str, str], account_id: str, **fields: Any
) -> httpx.Response:
    return await auth.patch(f"{PATH}/{account_id}", json=WHY | fields, headers=headers)


async def test_accounts_are_listed_by_every_filter(auth: httpx.AsyncClient, admin: dict[str, str]) -> None:
    name = a_name()
    ann, bob, eve = [(await register(auth, username=one))["user"] for one in (name, None, None)]
    assert (await change(auth, admin, bob["id"], role="admin")).status_code == 200
    assert (await change(auth, admin, eve["id"], status="suspended")).status_code == 200
    (first,) = await listed(auth, admin, username="admin")

    assert await listed(auth, admin) == [eve["id"], bob["id"], ann["id"], first]
    assert await listed(auth, admin, role="admin") == [bob["id"], first]
    assert await listed(auth, admin, status="suspended") == [eve["id"]]
    assert await listed(auth, admin, status="active", role="user") == [ann["id"]]
    assert await listed(auth, admin, username=name.upper()) == [ann["id"]]
    assert await listed(auth, admin, email=bob["email"].upper()) == [bob["id"]]
    assert await listed(auth, admin, email=bob["email"], role="user") == []
    assert await listed(auth, admin, status="deleted") == []
    page = await auth.get(f"{PATH}?limit=2", headers=admin)
    assert [one["id"] for one in page.json()] == [eve["id"], bob["id"]]
    assert "link" in page.headers
    assert (await auth.get(f"{PATH}?status=gone", headers=admin)).status_code == 422


async def test_only_admins_can_list_and_change_accounts_A11(
    auth: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    ann = await register(auth)
    own, missing = ann["user"]["id"], f"{ann['user']['id'][:-4]}0000"
    requests = [
        ("GET", PATH, None),
        ("GET", f"{PATH}/{{id}}", None),
        ("PATCH", f"{PATH}/{{id}}", WHY | {"role": "admin"}),
        ("POST", f"{PATH}/{{id}}/sign-out", WHY),
        ("POST", f"{PATH}/{{id}}/reset-factors", WHY),
    ]
    for method, path, body in requests:
        anonymous = await auth.request(method, path.format(id=own), json=body)
        person = await auth.request(method, path.format(id=own), json=body, headers=bearer(ann["token"]))
        assert (anonymous.status_code, person.status_code) == (401, 403)
        if "{id}" in path:
            for one, status in ((missing, 404), ("x", 422)):
                response = await auth.request(method, path.format(id=one), json=body, headers=admin)
                assert response.status_code == status
    assert (await auth.get("/auth/me", headers=bearer(ann["token"]))).json()["role"] == "user"


async def test_new_role_or_status_ends_the_sessions_and_records_the_reason(
    auth: httpx.AsyncClient, admin: dict[str, str], database_url: str
) -> None:
    ann = await register(auth)
    for fields in ({"status": "suspended"}, {"status": "active"}, {"role": "admin"}):
        signed_in = (await login(auth, ann["user"]["email"])).json()
        changed = await change(auth, admin, ann["user"]["id"], **fields)
        assert {name: changed.json()[name] for name in fields} == fields
        if "token" in signed_in:
            assert (await auth.get("/auth/me", headers=bearer(signed_in["token"]))).status_code == 401
            assert (await refresh(auth, signed_in["refresh_token"])).status_code == 401
        told = account_events(database_url, EVENTS)[-1]
        assert {name: told.data[name] for name in fields} == fields
        record = [one for one in records(database_url, EVENTS) if one["action"] == "ADMINISTER_ACCOUNT"][-1]
        assert record["resource"] == ann["user"]["id"]
        assert (record["metadata"]["reason"], record["metadata"]["note"]) == ("compromised", "laptop stolen")
        assert record["metadata"]["fields"] == list(fields)


@pytest.mark.parametrize("status", ["suspended", "disabled"])
async def test_sign_in_to_a_suspended_account_is_refused_like_a_wrong_password(
    auth: httpx.AsyncClient, admin: dict[str, str], status: str
) -> None:
    ann = (await register(auth))["user"]
    await change(auth, admin, ann["id"], status=status)
    refused, wrong = await login(auth, ann["email"]), await login(auth, ann["email"], "wrong")

    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_credentials")
    assert {**refused.json(), "request_id": ""} == {**wrong.json(), "request_id": ""}


async def test_last_admin_remains_even_if_two_demote_each_other_A11(
    auth: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    (first,) = await listed(auth, admin, username="admin")
    for fields in ({"role": "user"}, {"status": "suspended"}, {"status": "disabled"}):
        assert (await change(auth, admin, first, **fields)).json()["code"] == "last_admin"
    ann = await register(auth)
    await change(auth, admin, ann["user"]["id"], role="admin")
    other = bearer((await login(auth, ann["user"]["email"])).json()["token"])
    responses = await asyncio.gather(
        change(auth, admin, ann["user"]["id"], role="user"), change(auth, other, first, role="user")
    )

    assert sum(one.status_code == 200 for one in responses) == 1


async def test_invalid_body_is_refused_with_422(auth: httpx.AsyncClient, admin: dict[str, str]) -> None:
    ann = (await register(auth))["user"]
    path = f"{PATH}/{ann['id']}"
    for body in (
        {"role": "admin"},
        WHY,
        WHY | {"role": "owner"},
        WHY | {"status": "deleted"},
        WHY | {"role": "admin", "email": "x@example.com"},
        {"reason": "because", "role": "admin"},
        WHY | {"role": "admin", "note": "x" * 301},
    ):
        assert (await auth.patch(path, json=body, headers=admin)).status_code == 422
    assert (await auth.post(f"{path}/sign-out", json={}, headers=admin)).status_code == 422


async def test_admin_signs_an_account_out_everywhere(
    auth: httpx.AsyncClient, admin: dict[str, str], database_url: str
) -> None:
    ann = await register(auth)
    again = (await login(auth, ann["user"]["email"])).json()
    path = f"{PATH}/{ann['user']['id']}/sign-out"
    assert (await auth.post(path, json=WHY, headers=admin)).status_code == 204

    for one in (ann, again):
        assert (await auth.get("/auth/me", headers=bearer(one["token"]))).status_code == 401
        assert (await refresh(auth, one["refresh_token"])).status_code == 401
    record = [one for one in records(database_url, EVENTS) if one["action"] == "SIGN_OUT_ACCOUNT"][-1]
    assert (record["resource"], record["metadata"]["reason"]) == (ann["user"]["id"], "compromised")
    assert (await login(auth, ann["user"]["email"])).status_code == 200


async def test_reset_of_factors_by_an_admin_is_recorded_and_mailed_to_the_owner_M3(
    mailbox: Mailbox, auth: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("services.auth.factors.totp.time", clock)
    person = await enrolled(auth, clock)
    admin = bearer(await admin_token(auth))
    path = f"{PATH}/{person.id}"
    before = (await auth.get(path, headers=admin)).json()
    assert (await auth.post(f"{path}/reset-factors", json=WHY, headers=admin)).status_code == 204
    after = (await auth.get(path, headers=admin)).json()

    assert (before["second_factors"], before["has_password"], after["second_factors"]) == (["totp"], True, [])
    assert "token" in (await login(auth, person.email)).json()
    assert (await auth.get("/auth/me", headers=person.headers)).status_code == 401
    assert len(mailbox.mails(person.email, "factor_removed")) == 1
    record = [one for one in records(database_url, EVENTS) if one["action"] == "RESET_ACCOUNT_FACTORS"][-1]
    assert record["metadata"]["reason"] == "compromised"
    assert pyotp.TOTP(person.secret).now() not in str(record)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path_factory.mktemp('plans')}/auth.db"
    upgrade(url, Path("services/auth/migrations"))
    database = Database(url)
    begin = datetime(2024, 1, 1, tzinfo=UTC)
    rows = [
        {
            "id": f"018cc251-f400-7000-8000-{number:012x}",
            "email": f"person{number}@example.com",
            "username_key": f"person{number}",
            "role": "admin" if number < 20 else "user",
            "status": "suspended" if number < 20 else "deleted" if number % 2 else "active",
            "token_version": 0,
            "created": begin + timedelta(seconds=number),
            "updated": begin + timedelta(seconds=number),
        }
        for number in range(PLAN_ROWS)
    ]
    with database.transaction() as session:
        session.connection().execute(insert(ACCOUNTS), rows)
    yield database
    database.close()


class TestPlans:
    """No list of accounts scans the table, whatever its filters."""

    @pytest.mark.parametrize(
        "query",
        [
            {},
            {"role": "admin"},
            {"role": "user"},
            {"status": "suspended"},
            {"status": "deleted"},
            {"status": "disabled"},
            {"role": "admin", "status": "active"},
            {"email": "person7@example.com"},
            {"username": "person19999"},
            {"email": "person7@example.com", "status": "deleted"},
            {"username": "nobody"},
        ],
    )
    def test_page_of_accounts_costs_the_same_for_every_filter(
        self, full: Database, query: dict[str, str]
    ) -> None:
        steps = 0
        watched: list[bool] = []

        def step() -> int:
            nonlocal steps
            steps += STEPS
            return 0

        def watch(connection: Any, *_: Any) -> None:
            watched.append(True)
            connection.set_progress_handler(step, STEPS)

        event.listen(full.engine, "checkout", watch)
        try:
            with full.transaction(write=False) as session:
                accounts.find_page(session, ListAccounts.model_validate(query))
        finally:
            event.remove(full.engine, "checkout", watch)

        assert watched == [True]
        assert steps < STEPS_MAX
