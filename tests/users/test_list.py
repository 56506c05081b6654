"""The list of users, with search and filters; it shows accounts whose event has arrived."""

import httpx
import pytest

from shared.testing import bearer, token
from tests.users.support import fields_of, new_email, register, register_known, tag, tell_deleted, tell_of

ADMIN = bearer(token(role="admin"))


async def ids(users: httpx.AsyncClient, **query: str) -> list[str]:
    response = await users.get("/users", params=query, headers=ADMIN)
    assert response.status_code == 200, response.text
    return [profile["id"] for profile in response.json()]


class TestListUsers:
    async def test_list_shows_accounts_whose_event_has_arrived(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        first, second = await register_known(users, auth), await register_known(users, auth, first_name="Ada")
        await register(auth)

        assert await ids(users) == [second.id, first.id]

    async def test_pages_contain_all_users(self, users: httpx.AsyncClient, auth: httpx.AsyncClient) -> None:
        name = tag()
        people = [await register_known(users, auth, last_name=name) for _ in range(5)]

        seen, address = [], f"/users?limit=2&q={name}"
        while address:
            response = await users.get(address, headers=ADMIN)
            seen += [profile["id"] for profile in response.json()]
            following = response.links.get("next")
            address = "/users" + following["url"] if following else ""
        assert seen == [person.id for person in reversed(people)]

    async def test_request_without_token_is_rejected_with_401(self, users: httpx.AsyncClient) -> None:
        assert (await users.get("/users", headers={"X-Role": "admin"})).status_code == 401

    async def test_caller_who_is_not_an_admin_is_rejected_with_403(self, users: httpx.AsyncClient) -> None:
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
    async def test_malformed_input_is_rejected_with_422(
        self, users: httpx.AsyncClient, query: str, field: str
    ) -> None:
        response = await users.get(f"/users?{query}", headers=ADMIN)

        assert response.status_code == 422
        assert fields_of(response) == [field]


class TestSearch:
    async def test_search_covers_email_username_and_names(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        email, username, first, last = new_email(), tag(), tag(), tag()
        ada = await register_known(
            users, auth, email=email, username=username, first_name=first, last_name=last
        )

        for text in (email, username, first, last, f"{first} {last}", email[2:-2], last[3:], email.upper()):
            assert await ids(users, q=text) == [ada.id], text
        assert await ids(users, q=f"{username} {first}") == []

    @pytest.mark.parametrize("text", ["100%", "a_b", "c\\d", "e/f", "%_%", "'; --", '"x"'])
    async def test_search_takes_every_character_literally(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, text: str
    ) -> None:
        mark = tag()
        ada = await register_known(users, auth, first_name=f"{mark}{text}z")
        await register_known(users, auth, first_name=f"{mark}100 axb c-d e-f xyz z")

        assert await ids(users, q=f"{mark}{text}") == [ada.id]

    @pytest.mark.parametrize("wildcard", ["%", "_", "%_", "\\"])
    async def test_wildcard_finds_no_user(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, wildcard: str
    ) -> None:
        mark = tag()
        await register_known(users, auth, first_name=f"{mark}z")

        assert await ids(users, q=f"{mark}{wildcard}") == []

    @pytest.mark.parametrize(
        ("name", "text"),
        [("Özgür", "ÖZGÜR"), ("Straße", "STRASSE"), ("Łukasz", "łUKASZ"), ("ΣΊΣΥΦΟΣ", "σίσυφος")],
    )
    async def test_search_ignores_case_in_any_script(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, name: str, text: str
    ) -> None:
        mark = tag()
        ada = await register_known(users, auth, first_name=f"{mark} {name}")

        assert await ids(users, q=f"{mark} {text}") == [ada.id]

    async def test_search_finds_the_new_name_and_not_the_old_one(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        old, new = tag(), tag()
        ada = await register_known(users, auth, last_name=old)
        await users.put("/users/me", json={"last_name": new}, headers=ada.headers)

        assert await ids(users, q=old) == []
        assert await ids(users, q=new) == [ada.id]

    async def test_list_is_filtered_by_role_and_status(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        name = tag()
        plain, boss, off = [
            await register_known(users, auth, last_name=name, role=r) for r in ("user", "admin", "user")
        ]
        await tell_of(users, off, status="disabled")

        assert await ids(users, q=name) == [off.id, boss.id, plain.id]
        assert await ids(users, q=name, role="admin") == [boss.id]
        assert await ids(users, q=name, status="disabled") == [off.id]
        assert await ids(users, q=name, role="user", status="active") == [plain.id]

    async def test_deleted_users_are_listed_only_by_status(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await register_known(users, auth)
        await tell_deleted(users, ada)

        assert ada.id not in await ids(users)
        assert (await ids(users, status="deleted"))[0] == ada.id
