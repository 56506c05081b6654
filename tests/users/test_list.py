"""The list of users: searched, filtered, and never behind auth."""

import asyncio
from datetime import datetime

import httpx
import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from services.users import sync
from services.users.models import SYNC
from shared.database import Database
from shared.testing import bearer, token
from tests.users.support import (
    NOWHERE,
    StartUsers,
    fields_of,
    new_email,
    register,
    tag,
)

ADMIN = bearer(token(role="admin"))


async def ids(users: httpx.AsyncClient, **query: str) -> list[str]:
    response = await users.get("/users", params=query, headers=ADMIN)
    assert response.status_code == 200, response.text
    return [profile["id"] for profile in response.json()]


class TestListUsers:
    async def test_shows_who_registered_a_moment_ago(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        first, second = await register(auth), await register(auth, first_name="Ada")

        assert (await ids(users))[:2] == [second.id, first.id]
        third = await register(auth)
        assert (await ids(users))[:3] == [third.id, second.id, first.id]

    async def test_pages_through_all(self, users: httpx.AsyncClient, auth: httpx.AsyncClient) -> None:
        name = tag()
        people = [await register(auth, last_name=name) for _ in range(5)]

        seen, address = [], f"/users?limit=2&q={name}"
        while address:
            response = await users.get(address, headers=ADMIN)
            seen += [profile["id"] for profile in response.json()]
            following = response.links.get("next")
            address = "/users" + following["url"] if following else ""
        assert seen == [person.id for person in reversed(people)]

    async def test_anonymous(self, users: httpx.AsyncClient) -> None:
        assert (await users.get("/users", headers={"X-Role": "admin"})).status_code == 401

    async def test_not_an_admin(self, users: httpx.AsyncClient) -> None:
        response = await users.get("/users", headers=bearer(token()) | {"X-Role": "admin"})

        assert response.status_code == 403

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("limit=0", "limit"),
            ("limit=201", "limit"),
            ("cursor=AAAA", "cursor"),
            ("q=", "q"),
            ("q=%00", "q"),
            (f"q={'x' * 101}", "q"),
            ("q=a&q=b", "q"),
            ("role=root", "role"),
            ("status=lost", "status"),
            ("password=x", "password"),
        ],
    )
    async def test_malformed(self, users: httpx.AsyncClient, query: str, field: str) -> None:
        response = await users.get(f"/users?{query}", headers=ADMIN)

        assert response.status_code == 422
        assert fields_of(response) == [field]


class TestSearch:
    async def test_looks_through_email_username_and_names(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        email, username, first, last = new_email(), tag(), tag(), tag()
        ada = await register(auth, email=email, username=username, first_name=first, last_name=last)

        for text in (email, username, first, last, f"{first} {last}", email[2:-2], last[3:], email.upper()):
            assert await ids(users, q=text) == [ada.id], text
        assert await ids(users, q=f"{username} {first}") == []

    @pytest.mark.parametrize("text", ["100%", "a_b", "c\\d", "e/f", "%_%", "'; --", '"x"'])
    async def test_takes_every_character_as_it_is(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, text: str
    ) -> None:
        mark = tag()
        ada = await register(auth, first_name=f"{mark}{text}z")
        await register(auth, first_name=f"{mark}100 axb c-d e-f xyz z")

        assert await ids(users, q=f"{mark}{text}") == [ada.id]

    @pytest.mark.parametrize("wildcard", ["%", "_", "%_", "\\"])
    async def test_a_wildcard_alone_finds_nobody(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, wildcard: str
    ) -> None:
        mark = tag()
        await register(auth, first_name=f"{mark}z")

        assert await ids(users, q=f"{mark}{wildcard}") == []

    @pytest.mark.parametrize(
        ("name", "text"),
        [("Özgür", "ÖZGÜR"), ("Straße", "STRASSE"), ("Łukasz", "łUKASZ"), ("ΣΊΣΥΦΟΣ", "σίσυφος")],
    )
    async def test_in_any_case_of_any_script(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, name: str, text: str
    ) -> None:
        mark = tag()
        ada = await register(auth, first_name=f"{mark} {name}")

        assert await ids(users, q=f"{mark} {text}") == [ada.id]

    async def test_finds_the_new_name_and_not_the_old(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        old, new = tag(), tag()
        ada = await register(auth, last_name=old)
        await users.put("/users/me", json={"last_name": new}, headers=ada.headers)

        assert await ids(users, q=old) == []
        assert await ids(users, q=new) == [ada.id]

    async def test_by_role_and_status(self, users: httpx.AsyncClient, auth: httpx.AsyncClient) -> None:
        name = tag()
        plain, boss, off = [await register(auth, last_name=name, role=r) for r in ("user", "admin", "user")]
        await auth.patch(f"/internal/accounts/{off.id}", json={"status": "disabled"})

        assert await ids(users, q=name) == [off.id, boss.id, plain.id]
        assert await ids(users, q=name, role="admin") == [boss.id]
        assert await ids(users, q=name, status="disabled") == [off.id]
        assert await ids(users, q=name, role="user", status="active") == [plain.id]

    async def test_deleted_ones_only_when_asked_for(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await register(auth)
        await auth.delete(f"/internal/accounts/{ada.id}")

        assert ada.id not in await ids(users)
        assert (await ids(users, status="deleted"))[0] == ada.id


class TestPull:
    async def test_follows_what_changed_at_auth(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada, email = await register(auth, first_name="Ada"), new_email()
        await users.put("/users/me", json={"first_name": "Augusta"}, headers=ada.headers)
        await auth.patch(f"/internal/accounts/{ada.id}", json={"email": email, "role": "admin"})
        [found] = (await users.get("/users", params={"q": email}, headers=ADMIN)).json()

        assert found["id"] == ada.id
        assert found["role"] == "admin"
        assert found["first_name"] == "Augusta"  # names belong to the profile once it is there

    async def test_what_did_not_change_keeps_its_version(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await register(auth)
        for _ in range(3):
            [found] = (await users.get("/users", params={"q": ada.account["email"]}, headers=ADMIN)).json()
            assert found["version"] == 1

    async def test_a_bounded_pull_goes_on_and_still_begins_with_the_newest(
        self,
        start_users: StartUsers,
        empty_auth_url: str,
        empty_auth: httpx.AsyncClient,
        database_url: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(sync, "ACCOUNTS_PER_PAGE", 2)
        monkeypatch.setattr(sync, "PAGES_PER_PULL_MAX", 2)
        people = [await register(empty_auth) for _ in range(8)]
        [root] = [a for a in (await empty_auth.get("/internal/accounts")).json() if a["role"] == "admin"]
        newest_first = [person.id for person in reversed(people)] + [root["id"]]
        async with start_users(empty_auth_url) as users:
            assert await ids(users) == newest_first[:4]
            late = await register(empty_auth)
            assert await ids(users) == [late.id, *newest_first[:6]]
            assert progress(database_url).rest is not None
            assert await ids(users) == [late.id, *newest_first[:8]]
            assert await ids(users) == [late.id, *newest_first]
        done = progress(database_url)

        assert done.rest is None
        # The mark is where the pull began; what came later is for the next one.
        assert done.mark == datetime.fromisoformat(people[-1].account["updated"])

    async def test_ten_lists_at_once(self, users: httpx.AsyncClient, auth: httpx.AsyncClient) -> None:
        name = tag()
        people = [await register(auth, last_name=name) for _ in range(20)]
        lists = await asyncio.gather(*[ids(users, q=name) for _ in range(10)])

        assert lists == [[person.id for person in reversed(people)]] * 10

    async def test_while_auth_is_down(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, start_users: StartUsers
    ) -> None:
        ada = await register(auth)
        assert ada.id in await ids(users)
        late = await register(auth)
        with capture_logs() as logs:
            async with start_users(NOWHERE) as alone:
                seen = await ids(alone)

        assert ada.id in seen
        assert late.id not in seen
        assert "accounts_not_pulled" in [entry["event"] for entry in logs]

    async def test_while_auth_takes_calls_and_does_not_answer(
        self, start_users: StartUsers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sync, "PULL_SECONDS_MAX", 0.2)
        released = asyncio.Event()

        async def say_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await released.wait()
            writer.close()

        silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
        address = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
        async with silent, start_users(address) as users:
            seen = await ids(users)
            released.set()

        assert seen == []

    @pytest.mark.parametrize("body", [b"[]", b"{}", b'[{"id": "what"}]', b"<html>"])
    async def test_when_something_else_answers_in_auths_place(
        self, start_users: StartUsers, body: bytes
    ) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(
                b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
            )
            writer.close()

        other = await asyncio.start_server(answer, "127.0.0.1", 0)
        address = f"http://127.0.0.1:{other.sockets[0].getsockname()[1]}"
        async with other, start_users(address) as users:
            assert await ids(users) == []
            refused = await users.get("/users/me", headers=bearer(token()))

        assert refused.status_code == 503


def progress(database_url: str) -> sync.Progress:
    database = Database(database_url, pool_size=1)
    try:
        with database.engine.connect() as connection:
            row = connection.execute(select(SYNC)).one()
            return sync.Progress(mark=row.mark, reach=row.reach, rest=row.rest)
    finally:
        database.close()
