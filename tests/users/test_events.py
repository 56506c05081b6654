"""How the users service handles auth's account events, and which events it emits itself."""

import asyncio
import time

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
    """Return the profile as `GET /users` lists it, without a call to another service."""
    for status in ("active", "deleted"):
        for profile in (await users.get("/users", params={"status": status}, headers=ADMIN)).json():
            if profile["id"] == person.id:
                return dict(profile)
    return {}


class TestAccountEvents:
    async def test_new_account_is_listed_before_its_profile_is_read(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await register_known(users, auth, first_name="Ada")

        profile = await shown(users, ada)
        assert (profile["email"], profile["first_name"]) == (ada.account["email"], "Ada")

    async def test_change_of_an_account_is_applied_and_names_are_kept(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada, email = await register_known(users, auth, first_name="Ada"), new_email()
        await users.put("/users/me", json={"first_name": "Augusta"}, headers=ada.headers)
        await tell_of(users, ada, email=email, role="admin")

        profile = await shown(users, ada)
        assert (profile["email"], profile["role"], profile["first_name"]) == (email, "admin", "Augusta")

    async def test_names_changed_at_auth_are_copied(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await register_known(users, auth, first_name="Ada")
        await users.put("/users/me", json={"first_name": "Augusta"}, headers=ada.headers)
        await tell_of(users, ada, first_name="Grace", last_name=None, names_changed=True)

        profile = await shown(users, ada)
        assert (profile["first_name"], profile["last_name"]) == ("Grace", None)

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0), (2, 2, 0, 0, 1, 1)])
    async def test_newest_state_wins_in_any_order_and_with_repeated_events(
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

    async def test_parallel_deliveries_lead_to_the_newest_state(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada, email = await register(auth), new_email()
        changed = ada.account | {"email": email, "updated": "2099-01-01T00:00:00Z"}
        news = [sealed(AccountCreated, ada.account), sealed(AccountChanged, changed)]
        await asyncio.gather(*[deliver(users, *news) for _ in range(10)])

        profile = await shown(users, ada)
        assert (profile["email"], profile["version"]) == (email, 2)

    async def test_deleted_profile_stays_blank(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await register_known(users, auth, first_name="Ada")
        await tell_deleted(users, ada)
        await tell_of(users, ada, first_name="Ada")

        profile = await shown(users, ada)
        assert (profile["status"], profile["email"], profile["first_name"]) == ("deleted", None, None)

    async def test_older_response_does_not_restore_a_deleted_person(
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

    async def test_list_works_while_auth_is_down(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, start_users: StartUsers
    ) -> None:
        ada = await register_known(users, auth)
        async with start_users(NOWHERE) as alone:
            assert (await shown(alone, ada))["email"] == ada.account["email"]

    async def test_events_are_accepted_only_from_services(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada = await register(auth)
        content = f'{{"events":[{sealed(AccountCreated, ada.account)}]}}'
        for headers in ({}, ADMIN, bearer(internal_token("orders"))):
            kind = {"Content-Type": "application/json"}
            response = await users.post("/internal/events", content=content, headers=headers | kind)
            assert response.status_code == 401

        assert await shown(users, ada) == {}


class TestProfileEvents:
    @pytest.fixture(autouse=True)
    def _add_subscriber(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Add a subscriber, because events without one are not written."""
        monkeypatch.setattr(app, "SUBSCRIBERS", {"listener": Subscriber(NOWHERE, ProfileChanged)})

    async def test_change_event_names_fields_without_their_values(
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

    async def test_creation_by_an_admin_emits_the_changed_fields(
        self, users: httpx.AsyncClient, database_url: str
    ) -> None:
        body = {"email": new_email(), "password": PASSWORD, "phone": "+49 30 123456"}
        recent = bearer(token(role="admin", auth_time=int(time.time()), acr="1"))
        made = await users.post("/users", json=body, headers=recent)

        (told,) = events(database_url, EVENTS)
        assert told.data == {"user_id": made.json()["id"], "fields": ["phone"]}

    async def test_refused_change_emits_no_event(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        ada = await register(auth)
        stale = ada.headers | {"If-Match": '"7"'}
        assert (await users.put("/users/me", json={"bio": "x"}, headers=stale)).status_code == 412

        assert events(database_url, EVENTS) == []
