"""The team directory: who sees which members and which fields, in lists, filters, searches and counts."""

import asyncio
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import func, select

from services.users.models import CARD_SKILLS, CARDS, MEMBERS
from services.users.team import members
from shared.data.database import Database
from shared.testing import bearer, token
from tests.users.support import (
    Person,
    fields_of,
    register,
    register_known,
    tag,
    tell_deleted,
    tell_of,
)

ADMIN = bearer(token(role="admin"))
READER = bearer(token())
ENTRY: dict[str, Any] = {
    "department": "Warehouse",
    "position": "Packer",
    "bio": "Likes boxes.",
    "skills": ["Python", "Forklift"],
    "links": {"github": "https://github.com/octocat"},
    "visibility": "public",
}
HIDDEN: dict[str, Any] = {"department": None, "position": None, "bio": None, "skills": []}
NO_LINKS = {"linkedin": None, "twitter": None, "github": None, "website": None}


async def add(users: httpx.AsyncClient, auth: httpx.AsyncClient, **fields: Any) -> Person:
    """Register a person, whom an admin puts into the directory."""
    person = await register(auth, first_name="Ada", last_name="Lovelace")
    await put(users, person.id, **fields)
    return person


async def put(users: httpx.AsyncClient, user_id: str, **fields: Any) -> dict[str, Any]:
    response = await users.put(f"/team/{user_id}", json=ENTRY | fields, headers=ADMIN)
    assert response.status_code == 200, response.text
    member: dict[str, Any] = response.json()
    return member


async def listed(users: httpx.AsyncClient, headers: Any = None, **query: str) -> list[str]:
    response = await users.get("/team", params=query, headers=headers or {})
    assert response.status_code == 200, response.text
    return [one["user_id"] for one in response.json()]


class TestVisibility:
    @pytest.mark.parametrize(
        ("visibility", "seen_by"),
        [
            ("public", {"anonymous", "reader", "owner", "admin"}),
            ("internal", {"reader", "owner", "admin"}),
            ("private", {"owner", "admin"}),
        ],
    )
    async def test_member_is_shown_and_counted_only_for_those_who_may_see_it(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, visibility: str, seen_by: set[str]
    ) -> None:
        ada = await add(users, auth, visibility=visibility)
        callers = {"anonymous": {}, "reader": READER, "owner": ada.headers, "admin": ADMIN}
        shown = {
            name
            for name, headers in callers.items()
            if (await users.get(f"/team/{ada.id}", headers=headers)).status_code == 200
        }
        in_list = {name for name, headers in callers.items() if ada.id in await listed(users, headers)}
        counted = {
            name
            for name, headers in callers.items()
            if (await users.get("/team/departments", headers=headers)).json()
        }

        assert shown == seen_by
        assert in_list == counted == seen_by - ({"owner"} if visibility == "private" else set())
        assert (await users.get(f"/team/{tag()}", headers={})).status_code in (404, 422)

    async def test_hidden_member_looks_like_one_that_does_not_exist(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada, bob = await add(users, auth, visibility="private"), await register(auth)
        hidden = await users.get(f"/team/{ada.id}", headers=READER)
        missing = await users.get(f"/team/{bob.id}", headers=READER)

        assert hidden.status_code == missing.status_code == 404
        volatile = ("request_id", "instance", "timestamp")
        assert {k: v for k, v in hidden.json().items() if k not in volatile} == {
            k: v for k, v in missing.json().items() if k not in volatile
        }

    @pytest.mark.parametrize("field", ["department", "position", "bio", "skills", "links"])
    async def test_hidden_field_is_empty_and_cannot_be_found(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, field: str
    ) -> None:
        ada = await add(users, auth, field_visibility={field: "internal"})
        queries: dict[str, str] = {
            "department": {"department": "Warehouse"},
            "position": {"search": "packer"},
            "bio": {"search": "boxes"},
            "skills": {"skill": "python"},
            "links": {},
        }[field]
        anonymous = (await users.get(f"/team/{ada.id}")).json()
        reader = (await users.get(f"/team/{ada.id}", headers=READER)).json()

        assert anonymous[field] == (NO_LINKS if field == "links" else HIDDEN[field])
        assert reader[field] == (NO_LINKS | ENTRY["links"] if field == "links" else ENTRY[field])
        if queries:
            assert await listed(users, **queries) == []
            assert await listed(users, READER, **queries) == [ada.id]
        if field == "department":
            assert (await users.get("/team/departments")).json() == []
        if field == "skills":
            assert await listed(users, search="forklift") == []

    async def test_rules_of_visibility_are_for_the_person_and_admins(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await add(users, auth, field_visibility={"bio": "private"})
        for headers in (ada.headers, ADMIN):
            full = (await users.get(f"/team/{ada.id}", headers=headers)).json()
            assert (full["bio"], full["field_visibility"]) == ("Likes boxes.", {"bio": "private"})
        for headers in ({}, READER):
            card = (await users.get(f"/team/{ada.id}", headers=headers)).json()
            assert (card["bio"], card["field_visibility"], card["visibility"]) == (None, None, None)

    async def test_anonymous_response_may_be_cached_and_others_not(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await add(users, auth)
        for path in ("/team", "/team/departments", f"/team/{ada.id}"):
            anonymous, reader = await users.get(path), await users.get(path, headers=READER)
            assert anonymous.headers.get_list("cache-control") == ["public, max-age=60"]
            assert reader.headers.get_list("cache-control") == ["no-store"]
            assert anonymous.headers["vary"] == reader.headers["vary"] == "Authorization, Cookie"
        assert (await users.get("/team/me", headers=ada.headers)).headers["cache-control"] == "no-store"


class TestLists:
    async def test_filters_find_members_regardless_of_case(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await add(users, auth)
        bob = await add(users, auth, department="Müller & Co", position=None, skills=["COBOL"], bio=None)

        assert await listed(users) == [bob.id, ada.id]
        for query, found in (
            ({"department": "MÜLLER & co"}, [bob.id]),
            ({"department": "Ware"}, []),
            ({"skill": "python"}, [ada.id]),
            ({"skill": "cobol", "department": "Warehouse"}, []),
            ({"skill": "cobol", "department": "müller & co"}, [bob.id]),
            ({"search": "LOVE"}, [bob.id, ada.id]),
            ({"search": "boxes"}, [ada.id]),
            ({"search": "pa"}, [ada.id]),
            ({"search": "lovelace", "skill": "python"}, [ada.id]),
            ({"search": "lovelace", "department": "müller & co"}, [bob.id]),
        ):
            assert await listed(users, **query) == found, query

    async def test_values_that_grow_when_they_are_normalised_are_stored_and_found(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        department, skill = "\ufdfa" * 100, "\ufdfa" * 50  # eighteen characters each
        ada = await add(users, auth, department=department, skills=[skill])
        await add(users, auth)

        for query in (
            {"department": department},
            {"skill": skill},
            {"department": department, "skill": skill},
            {"department": department, "search": "lovelace"},
        ):
            assert await listed(users, **query) == [ada.id], query

    async def test_pages_follow_each_other(self, users: httpx.AsyncClient, auth: httpx.AsyncClient) -> None:
        added = [(await add(users, auth)).id for _ in range(3)]
        first = await users.get("/team", params={"limit": 2})
        second = await users.get(f"/team{first.links['next']['url']}")

        assert [one["user_id"] for one in first.json() + second.json()] == added[::-1]

    async def test_departments_are_counted_per_reader(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for department, visibility in (
            ("Sales", "public"),
            ("sales", "internal"),
            ("Accounts", "internal"),
            ("Accounts", "private"),
            (None, "public"),
        ):
            await add(users, auth, department=department, visibility=visibility)

        assert (await users.get("/team/departments")).json() == [{"department": "Sales", "members": 1}]
        of_reader = (await users.get("/team/departments", headers=READER)).json()
        assert [(one["department"].lower(), one["members"]) for one in of_reader] == [
            ("accounts", 1),
            ("sales", 2),
        ]
        of_admin = (await users.get("/team/departments", headers=ADMIN)).json()
        assert [one["members"] for one in of_admin] == [2, 2]
        monkeypatch.setattr(members, "COUNTED_MAX", 1)
        monkeypatch.setattr(members, "DEPARTMENTS_MAX", 1)
        assert [one["members"] for one in (await users.get("/team/departments", headers=ADMIN)).json()] == [1]


class TestEditing:
    async def test_own_entry_is_hidden_until_an_admin_makes_it_active(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await register(auth, first_name="Ada")
        made = await users.put("/team/me", json=ENTRY, headers=ada.headers)
        assert made.status_code == 200, made.text
        assert (made.json()["is_active"], made.json()["name"]) == (False, "Ada")
        assert (await users.get(f"/team/{ada.id}", headers=READER)).status_code == 404
        assert await listed(users, ADMIN) == [ada.id]

        await put(users, ada.id)
        assert await listed(users) == [ada.id]
        again = await users.put("/team/me", json=ENTRY | {"position": "Boss"}, headers=ada.headers)
        assert again.json()["is_active"] is True
        assert (await users.get(f"/team/{ada.id}")).json()["position"] == "Boss"
        assert (await users.put("/team/me", json={"is_active": True}, headers=ada.headers)).status_code == 422

    async def test_changes_honour_if_match(self, users: httpx.AsyncClient, auth: httpx.AsyncClient) -> None:
        ada = await register(auth)
        made = await users.put("/team/me", json=ENTRY, headers=ada.headers | {"If-Match": '"0"'})
        assert made.headers["etag"] == '"1"'
        shown = await users.get("/team/me", headers=ada.headers)
        assert shown.headers["etag"] == '"1"'
        stale = ada.headers | {"If-Match": '"0"'}

        assert (await users.put("/team/me", json=ENTRY, headers=stale)).status_code == 412
        assert (await users.delete("/team/me", headers=stale)).status_code == 412
        assert (await users.delete("/team/me", headers=ada.headers | {"If-Match": '"1"'})).status_code == 204
        assert (await users.get("/team/me", headers=ada.headers)).status_code == 404
        assert (await users.delete("/team/me", headers=ada.headers)).status_code == 404

    @pytest.mark.parametrize(
        "database_url", ["postgresql"], indirect=True
    )  # writers of SQLite do not overlap
    async def test_deletion_waits_for_a_change_of_the_profile(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        ada = await add(users, auth)
        waiting = (
            "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        connect = psycopg.AsyncConnection.connect
        async with (
            await connect(database_url) as other,
            await connect(database_url, autocommit=True) as watching,
            asyncio.timeout(30),
        ):
            await other.execute("SELECT FROM profiles WHERE id = %s FOR UPDATE", [ada.id])
            deleting = asyncio.create_task(users.delete("/team/me", headers=ada.headers))
            while await (await watching.execute(waiting)).fetchone() is None:
                assert not deleting.done()
                await asyncio.sleep(0.01)
            await other.execute("UPDATE team_members SET version = 7 WHERE user_id = %s", [ada.id])
            await other.commit()

        assert (await deleting).status_code == 204
        assert await listed(users, ADMIN) == []

    async def test_only_admins_change_others(self, users: httpx.AsyncClient, auth: httpx.AsyncClient) -> None:
        ada = await add(users, auth)
        assert (await users.put(f"/team/{ada.id}", json=ENTRY, headers=READER)).status_code == 403
        assert (await users.delete(f"/team/{ada.id}", headers=READER)).status_code == 403
        assert (await users.put("/team/me", json=ENTRY)).status_code == 401
        assert (await users.delete(f"/team/{ada.id}", headers=ADMIN)).status_code == 204
        assert await listed(users, ADMIN) == []
        nobody = await users.put(f"/team/{Person({'id': ada.id[::-1]}).id}", json=ENTRY, headers=ADMIN)
        assert nobody.status_code in (404, 422)

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"links": {"website": "http://example.com"}}, "links.website"),
            ({"links": {"website": "javascript:alert(1)"}}, "links.website"),
            ({"links": {"website": "https://a b"}}, "links.website"),
            ({"links": {"website": 'https://a.example/"><script>'}}, "links.website"),
            ({"links": {"mastodon": "https://example.com"}}, "links.mastodon"),
            ({"skills": ["x"] * 31}, "skills"),
            ({"skills": ["x" * 51]}, "skills.0"),
            ({"bio": "x" * 1001}, "bio"),
            ({"visibility": "secret"}, "visibility"),
            ({"field_visibility": {"name": "private"}}, "field_visibility.name"),
            ({"is_active": "yes"}, "is_active"),
        ],
    )
    async def test_faulty_field_is_named(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, changes: dict[str, Any], field: str
    ) -> None:
        ada = await register(auth)
        response = await users.put(f"/team/{ada.id}", json=ENTRY | changes, headers=ADMIN)

        assert response.status_code == 422
        assert fields_of(response) == [field]

    async def test_skill_that_is_given_twice_is_kept_once(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await add(users, auth, skills=["Go", "go", "Rust", "GO"])

        assert (await users.get(f"/team/{ada.id}")).json()["skills"] == ["Go", "Rust"]


class TestAccounts:
    async def test_new_name_is_shown_and_found(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await add(users, auth)
        await users.put("/users/me", json={"last_name": "Byron"}, headers=ada.headers)

        assert (await users.get(f"/team/{ada.id}")).json()["name"] == "Ada Byron"
        assert await listed(users, search="byron") == [ada.id]
        assert await listed(users, search="lovelace") == []

    async def test_suspended_account_is_hidden_until_it_is_active_again(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await register_known(users, auth)
        await put(users, ada.id)
        await tell_of(users, ada, status="suspended")
        assert await listed(users) == await listed(users, READER) == []
        assert (await users.get(f"/team/{ada.id}")).status_code == 404
        assert await listed(users, ADMIN) == [ada.id]

        await tell_of(users, ada, status="active")
        assert await listed(users) == [ada.id]

    async def test_deleted_account_vanishes_with_everything(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        ada, bob = await add(users, auth), await add(users, auth)
        await tell_deleted(users, ada)

        for headers in ({}, READER, ADMIN):
            assert await listed(users, headers) == [bob.id]
            assert await listed(users, headers, search="lovelace") == [bob.id]
            assert (await users.get(f"/team/{ada.id}", headers=headers)).status_code == 404
        assert (await users.put(f"/team/{ada.id}", json=ENTRY, headers=ADMIN)).status_code == 409
        database = Database(database_url, pool_size=1)
        with database.transaction(write=False) as session:
            counts = [
                session.connection().execute(select(func.count()).select_from(table)).scalar_one()
                for table in (MEMBERS, CARDS, CARD_SKILLS)
            ]
        database.close()
        assert counts == [1, 3, 6]
