"""What a replica that knows only profiles leaves behind is put right by a duty."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from services.users import duties
from services.users.models import CARD_SKILLS, CARDS, MEMBERS, PROFILES, SETTINGS
from services.users.stored_settings import store
from services.users.team import cards
from shared.data.database import Database
from shared.testing import bearer, token
from tests.users.support import Person, StartUsers, register

ADMIN = bearer(token(role="admin"))
READER = bearer(token())
ENTRY: dict[str, Any] = {"department": "Warehouse", "skills": ["Python"], "visibility": "public"}


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url, pool_size=1)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duties, "TEAM_SECONDS", 0.05)
    monkeypatch.setattr(duties, "SETTINGS_SECONDS", 0.05)
    monkeypatch.setattr(cards, "BATCH_MEMBERS", 1)
    monkeypatch.setattr(store, "BATCH_OWNERS", 1)


async def add(users: httpx.AsyncClient, auth: httpx.AsyncClient) -> Person:
    """Register a person, let an admin add them to the directory, and store a setting of theirs."""
    person = await register(auth, first_name="Ada")
    stored = await users.put(f"/team/{person.id}", json=ENTRY, headers=ADMIN)
    assert stored.status_code == 200, stored.text
    body = {"value": "dark", "type": "string"}
    stored = await users.put("/settings/user/theme", json=body, headers=person.headers)
    assert stored.status_code in (200, 201), stored.text
    return person


def change(database: Database, person: Person, **values: Any) -> None:
    """Change the profile only."""
    with database.transaction() as session:
        changing = update(PROFILES).where(PROFILES.c.id == person.id).values(values)
        session.connection().execute(changing)


def owners(database: Database) -> dict[str, set[str]]:
    """Return whose rows are stored, by table."""
    skills = CARD_SKILLS.join(CARDS, CARD_SKILLS.c.id == CARDS.c.id)
    asked = {
        "settings": select(SETTINGS.c.owner).where(SETTINGS.c.owner != ""),
        "members": select(MEMBERS.c.user_id),
        "cards": select(CARDS.c.user_id),
        "skills": select(CARDS.c.user_id).select_from(skills),
    }
    with database.transaction(write=False) as session:
        execute = session.connection().execute
        return {name: set(execute(rows).scalars()) for name, rows in asked.items()}


async def listed(users: httpx.AsyncClient, headers: Any = None) -> list[tuple[str, str]]:
    response = await users.get("/team", headers=headers or {})
    assert response.status_code == 200, response.text
    return [(one["user_id"], one["name"]) for one in response.json()]


async def test_duty_follows_profiles_that_another_replica_changed(
    start_users: StartUsers, auth_url: str, auth: httpx.AsyncClient, database: Database
) -> None:
    async with start_users(auth_url) as users, asyncio.timeout(60):
        deleted, suspended, renamed, same = [await add(users, auth) for _ in range(4)]
        change(database, deleted, status="deleted", first_name=None)
        change(database, suspended, status="suspended")
        change(database, renamed, first_name="Grace")
        shown = [(same.id, "Ada"), (renamed.id, "Grace")]
        alive = {suspended.id, renamed.id, same.id}
        while await listed(users) != shown or owners(database)["settings"] != alive:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

        assert await listed(users, READER) == shown
        assert await listed(users, ADMIN) == [*shown, (suspended.id, "Ada")]
        assert owners(database) == dict.fromkeys(("settings", "members", "cards", "skills"), alive)
        with database.transaction(write=False) as session:
            assert [cards.outdated(session, "")[1], store.orphaned(session, "")[1]] == [[], []]


async def test_profile_without_changes_has_no_outdated_cards(
    users: httpx.AsyncClient, auth: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cards, "BATCH_MEMBERS", 100)
    entry = ENTRY | {
        "links": {"github": "https://github.com/octocat"},
        "field_visibility": {"bio": "private"},
    }
    for _ in range(2):
        person = await register(auth, first_name="Ada")
        assert (await users.put("/team/me", json=entry, headers=person.headers)).status_code == 200
    await add(users, auth)

    with database.transaction(write=False) as session:
        assert cards.outdated(session, "") == (None, [])
