"""What the users service does when auth tells of accounts, and what it tells itself."""

import asyncio

import httpx
import pytest
from sqlalchemy import select

from contracts.events import AccountChanged, AccountCreated, ProfileChanged
from services.users import app
from services.users.models import EVENTS, PROFILES
from shared.data.database import Database
from shared.events import Subscriber
from shared.testing import bearer, internal_token, token
from tests.told import events
from tests.users.support import (
    NOWHERE,
    PASSWORD,
    Person,
    StartUsers,
    deliver,
    new_email,
    register,
    register_known,
    sealed,
    tell_deleted,
    tell_of,
)

ADMIN = bearer(token(role="admin"))


async def shown(users: httpx.AsyncClient, person: Person) -> dict[str, object]:
    """The profile as the list shows it, which asks nobody."""
    for status in ("active", "deleted"):
        for profile in (await users.get("/users", params={"status": status}, headers=ADMIN)).json():
            if profile["id"] == person.id:
                return dict(profile)
    return {}


class TestOfAccounts:
    async def test_a_new_one_is_in_the_list_though_nobody_has_read_it(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await register_known(users, auth, first_name="Ada")

        profile = await shown(users, ada)
        assert (profile["email"], profile["first_name"]) == (ada.account["email"], "Ada")

    async def test_a_change_is_followed_and_names_are_kept(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada, email = await register_known(users, auth, first_name="Ada"), new_email()
        await users.put("/users/me", json={"first_name": "Augusta"}, headers=ada.headers)
        await tell_of(users, ada, email=email, role="admin")

        profile = await shown(users, ada)
        assert (profile["email"], profile["role"], profile["first_name"]) == (email, "admin", "Augusta")

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0), (2, 2, 0, 0, 1, 1)])
    async def test_the_newest_stays_in_whatever_order_and_however_often_they_come(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, order: tuple[int, ...]
    ) -> None:
        ada = await register(auth)
        changed = [
            ada.account | {"email": new_email(), "updated": f"2099-01-0{day}T00:00:00Z"} for day in (1, 2)
        ]
        news = [sealed(AccountCreated, ada.account), *(sealed(AccountChanged, one) for one in changed)]
        for number in order:
            await deliver(users, news[number])

        assert (await shown(users, ada))["email"] == changed[-1]["email"]

    async def test_events_in_any_order_lead_to_the_newest_state(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada, email = await register(auth), new_email()
        changed = ada.account | {"email": email, "updated": "2099-01-01T00:00:00Z"}
        news = [sealed(AccountCreated, ada.account), sealed(AccountChanged, changed)]
        await asyncio.gather(*[deliver(users, *news) for _ in range(10)])

        profile = await shown(users, ada)
        assert (profile["email"], profile["version"]) == (email, 2)

    async def test_a_deleted_one_is_blank_for_good(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await register_known(users, auth, first_name="Ada")
        await tell_deleted(users, ada)
        await tell_of(users, ada, first_name="Ada")

        profile = await shown(users, ada)
        assert (profile["status"], profile["email"], profile["first_name"]) == ("deleted", None, None)

    async def test_an_older_answer_does_not_bring_back_who_was_deleted_unseen(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        ada = await register(auth)
        await tell_deleted(users, ada)
        assert (await users.get("/users/me", headers=ada.headers)).status_code == 404

        database = Database(database_url, pool_size=1)
        with database.transaction(write=False) as session:
            emails = session.connection().execute(select(PROFILES.c.email)).scalars().all()
        database.close()
        assert emails == [None]

    async def test_the_list_needs_no_auth(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, start_users: StartUsers
    ) -> None:
        ada = await register_known(users, auth)
        async with start_users(NOWHERE) as alone:
            assert (await shown(alone, ada))["email"] == ada.account["email"]

    async def test_only_other_services_tell(self, users: httpx.AsyncClient, auth: httpx.AsyncClient) -> None:
        ada = await register(auth)
        content = f'{{"events":[{sealed(AccountCreated, ada.account)}]}}'
        for headers in ({}, ADMIN, bearer(internal_token("orders"))):
            kind = {"Content-Type": "application/json"}
            response = await users.post("/internal/events", content=content, headers=headers | kind)
            assert response.status_code == 401

        assert await shown(users, ada) == {}


class TestOfProfiles:
    @pytest.fixture(autouse=True)
    def _somebody_listens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Otherwise nothing is written: an event that nobody wants costs nothing."""
        monkeypatch.setattr(app, "SUBSCRIBERS", {"listener": Subscriber(NOWHERE, ProfileChanged)})

    async def test_a_change_names_the_fields_and_not_what_is_in_them(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        ada = await register(auth, first_name="Ada")
        changes = {"bio": "Countess", "phone": "+44 20 7946 0018", "first_name": "Ada"}
        await users.put("/users/me", json=changes, headers=ada.headers)
        await users.put("/users/me", json=changes, headers=ada.headers)
        await users.put("/users/me/preferences", json={"theme": "dark"}, headers=ada.headers)

        told = [(one.topic, one.key, one.data) for one in events(database_url, EVENTS)]
        assert told == [
            ("profile.changed", f"profile {ada.id}", {"user_id": ada.id, "fields": fields})
            for fields in (["phone", "bio"], ["preferences"])
        ]

    async def test_made_by_an_admin(self, users: httpx.AsyncClient, database_url: str) -> None:
        body = {"email": new_email(), "password": PASSWORD, "phone": "+49 30 123456"}
        made = await users.post("/users", json=body, headers=ADMIN)

        (told,) = events(database_url, EVENTS)
        assert told.data == {"user_id": made.json()["id"], "fields": ["phone"]}

    async def test_refused_change_is_not_told(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        ada = await register(auth)
        stale = ada.headers | {"If-Match": '"7"'}
        assert (await users.put("/users/me", json={"bio": "x"}, headers=stale)).status_code == 412

        assert events(database_url, EVENTS) == []
