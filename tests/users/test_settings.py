"""Settings of the system and of people: values and types, sealed values, limits, events, deletion."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from contracts.events import SettingChanged
from services.users import app
from services.users.models import EVENTS, SETTINGS
from services.users.stored_settings import store
from services.users.stored_settings.known import KNOWN, Readers
from services.users.stored_settings.schemas import PutSetting
from shared.data.database import Database
from shared.events import Subscriber
from shared.testing import bearer, internal_token, token
from tests.told import events
from tests.users.support import NOWHERE, Person, fields_of, register, tell_deleted

ADMIN = bearer(token(role="admin"))
SYSTEM, OWN = "/settings/system", "/settings/user"
SECRET = "swordfish-0451"
NOTICE = {"value": "Closed on Sunday", "type": "string"}


@pytest.fixture
async def ada(auth: httpx.AsyncClient) -> Person:
    return await register(auth)


async def put(
    users: httpx.AsyncClient, path: str, headers: dict[str, str], body: Any = NOTICE, status: int = 200
) -> Any:
    response = await users.put(path, json=body, headers=headers)
    assert response.status_code == status, response.text
    return response.json()


def rows_of(database_url: str, owner: str) -> list[dict[str, Any]]:
    database = Database(database_url, pool_size=1)
    try:
        with database.transaction(write=False) as session:
            found = session.connection().execute(select(SETTINGS).where(SETTINGS.c.owner == owner))
            return [dict(row) for row in found.mappings()]
    finally:
        database.close()


class TestValues:
    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            ("string", ""),
            ("string", " kept, with spaces "),
            ("string", "é" * 8192),
            ("number", "-12.50e3"),
            ("number", "0"),
            ("boolean", "true"),
            ("json", '{"a": [1, null]}'),
            ("json", "null"),
        ],
    )
    async def test_value_that_fits_its_type_is_stored_unchanged(
        self, users: httpx.AsyncClient, ada: Person, kind: str, value: str
    ) -> None:
        await put(users, f"{OWN}/a.b", ada.headers, {"value": value, "type": kind})
        shown = (await users.get(f"{OWN}/a.b", headers=ada.headers)).json()

        assert (shown["value"], shown["type"], shown["is_set"]) == (value, kind, True)

    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            ("number", "12,5"),
            ("number", ""),
            ("number", "NaN"),
            ("number", "1e999"),
            ("number", "01"),
            ("number", "٣"),
            ("number", "1" * 101),
            ("boolean", "yes"),
            ("boolean", "True"),
            ("json", "{"),
            ("json", "NaN"),
            ("json", "[" * 5000),
        ],
    )
    async def test_refusal_of_a_value_that_does_not_fit_its_type_names_the_field(
        self, users: httpx.AsyncClient, ada: Person, kind: str, value: str
    ) -> None:
        response = await users.put(f"{OWN}/a", json={"value": value, "type": kind}, headers=ada.headers)

        assert response.status_code == 422
        assert fields_of(response) == ["value"]
        assert (await users.get(f"{OWN}/a", headers=ada.headers)).status_code == 404

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"value": "x" * 8193}, "value"),
            ({"value": "a\0b"}, "value"),
            ({"value": 3}, "value"),
            ({"type": "date"}, "type"),
            ({"description": "x" * 501}, "description"),
            ({"surprise": 1}, "surprise"),
        ],
    )
    async def test_faulty_field_is_named(
        self, users: httpx.AsyncClient, ada: Person, changes: dict[str, Any], field: str
    ) -> None:
        response = await users.put(f"{OWN}/a", json=NOTICE | changes, headers=ada.headers)

        assert response.status_code == 422
        assert fields_of(response) == [field]

    @pytest.mark.parametrize("key", ["a" * 256, ".a", "-a", "a b", "é"])
    async def test_bad_key_is_refused(self, users: httpx.AsyncClient, ada: Person, key: str) -> None:
        response = await users.put(f"{OWN}/{key}", json=NOTICE, headers=ada.headers)

        assert response.status_code == 422
        assert fields_of(response) == ["key"]


class TestSystem:
    async def test_admin_adds_shows_replaces_and_deletes_a_setting(self, users: httpx.AsyncClient) -> None:
        body = {"key": "mail.footer", "description": "Below every mail", **NOTICE}
        added = await users.post(SYSTEM, json=body, headers=ADMIN)
        assert added.status_code == 201, added.text
        assert added.headers["location"] == f"{SYSTEM}/mail.footer"
        replaced = await put(users, f"{SYSTEM}/mail.footer", ADMIN, {"value": "Bye", "type": "string"})

        assert (replaced["value"], replaced["version"], replaced["description"]) == ("Bye", 2, None)
        assert replaced["id"] == added.json()["id"]
        assert (await users.get(SYSTEM, headers=ADMIN)).json() == [replaced]
        assert (await users.delete(f"{SYSTEM}/mail.footer", headers=ADMIN)).status_code == 204
        assert (await users.get(f"{SYSTEM}/mail.footer", headers=ADMIN)).status_code == 404
        assert (await users.delete(f"{SYSTEM}/mail.footer", headers=ADMIN)).status_code == 404

    async def test_adding_an_existing_key_is_a_conflict(self, users: httpx.AsyncClient) -> None:
        await put(users, f"{SYSTEM}/a", ADMIN)
        response = await users.post(SYSTEM, json={"key": "a", **NOTICE}, headers=ADMIN)

        assert (response.status_code, response.json()["code"]) == (409, "setting_exists")

    async def test_others_are_refused(self, users: httpx.AsyncClient, ada: Person) -> None:
        await put(users, f"{SYSTEM}/a", ADMIN)
        for method, path in (("GET", SYSTEM), ("GET", f"{SYSTEM}/a"), ("DELETE", f"{SYSTEM}/a")):
            assert (await users.request(method, path, headers=ada.headers)).status_code == 403
            assert (await users.request(method, path)).status_code == 401
        await put(users, f"{SYSTEM}/a", ada.headers, status=403)

    async def test_two_writers_of_a_new_setting_make_one_row(
        self, users: httpx.AsyncClient, database_url: str
    ) -> None:
        sent = [users.put(f"{SYSTEM}/a", json=NOTICE, headers=ADMIN | {"If-Match": '"0"'}) for _ in range(6)]
        statuses = sorted(response.status_code for response in await asyncio.gather(*sent))

        assert statuses == [200, 412, 412, 412, 412, 412]
        assert len(rows_of(database_url, "")) == 1

    async def test_if_match_refuses_a_stale_change(self, users: httpx.AsyncClient) -> None:
        stored = await users.put(f"{SYSTEM}/a", json=NOTICE, headers=ADMIN)
        tag = {"If-Match": stored.headers["etag"]}
        assert (await users.put(f"{SYSTEM}/a", json=NOTICE, headers=ADMIN | tag)).status_code == 200

        assert (await users.put(f"{SYSTEM}/a", json=NOTICE, headers=ADMIN | tag)).status_code == 412
        assert (await users.delete(f"{SYSTEM}/a", headers=ADMIN | tag)).status_code == 412
        assert (await users.put(f"{SYSTEM}/b", json=NOTICE, headers=ADMIN | tag)).status_code == 412


class TestKnown:
    def test_defaults_are_valid(self) -> None:
        for key, known in KNOWN.items():
            body = PutSetting(value=known.default, type=known.kind)
            store.require_valid(store.Place("", key), body)

    async def test_known_setting_that_is_not_stored_has_its_default(self, users: httpx.AsyncClient) -> None:
        shown = await users.get(f"{SYSTEM}/site.name", headers=ADMIN)

        assert shown.headers["etag"] == '"0"'
        assert shown.json()["value"] == KNOWN["site.name"].default
        assert shown.json()["is_set"] is False

    @pytest.mark.parametrize(
        ("key", "body", "field"),
        [
            ("site.name", {"value": "1", "type": "number"}, "type"),
            ("site.name", {"value": "x" * 101, "type": "string"}, "value"),
            ("site.name", {"value": "x", "type": "string", "is_sealed": True}, "is_sealed"),
            ("site.language", {"value": "Deutsch!", "type": "string"}, "value"),
            ("site.terms_url", {"value": "http://example.com", "type": "string"}, "value"),
            ("site.terms_url", {"value": "https://[", "type": "string"}, "value"),
            ("support.email", {"value": "nobody", "type": "string"}, "value"),
        ],
    )
    async def test_wrong_value_of_a_known_key_is_refused(
        self, users: httpx.AsyncClient, ada: Person, key: str, body: dict[str, Any], field: str
    ) -> None:
        response = await users.put(f"{SYSTEM}/{key}", json=body, headers=ADMIN)

        assert response.status_code == 422
        assert fields_of(response) == [field]
        if not body.get("is_sealed"):  # the registry is about the system: own keys of the same name are free
            await put(users, f"{OWN}/{key}", ada.headers, body)

    async def test_public_settings_depend_on_the_reader(self, users: httpx.AsyncClient, ada: Person) -> None:
        await put(users, f"{SYSTEM}/site.notice", ADMIN)
        await put(users, f"{SYSTEM}/unknown", ADMIN)
        anybody = (await users.get("/settings/public")).json()
        signed_in = (await users.get("/settings/public", headers=ada.headers)).json()

        assert {one["key"] for one in anybody} == {
            k for k, v in KNOWN.items() if v.readers is Readers.ANYBODY
        }
        assert {one["key"] for one in signed_in} - {one["key"] for one in anybody} == {
            "support.email",
            "support.hours",
        }
        values = {one["key"]: one["value"] for one in anybody}
        assert (values["site.notice"], values["site.language"]) == (NOTICE["value"], "en")


class TestSealed:
    BODY = {"value": SECRET, "type": "string", "is_sealed": True}  # noqa: RUF012 - never changed

    @pytest.mark.parametrize("is_own", [True, False])
    async def test_sealed_value_is_never_returned_and_not_stored_in_clear(
        self, users: httpx.AsyncClient, ada: Person, database_url: str, is_own: bool
    ) -> None:
        path, who, owner = (OWN, ada.headers, ada.id) if is_own else (SYSTEM, ADMIN, "")
        stored = await put(users, f"{path}/token", who, self.BODY)
        shown = (await users.get(f"{path}/token", headers=who)).json()
        page = (await users.get(path, headers=who)).json()
        old = await users.get(f"/classic{path}/token", headers=who)

        assert stored == shown == page[0]
        assert (shown["value"], shown["is_set"], shown["is_sealed"]) == (None, True, True)
        assert old.json()["setting"]["value"] is None
        (row,) = rows_of(database_url, owner)
        assert SECRET not in json.dumps(row, default=str)

    async def test_service_reads_a_sealed_value(self, users: httpx.AsyncClient, ada: Person) -> None:
        await put(users, f"{SYSTEM}/token", ADMIN, self.BODY)
        await put(users, f"{OWN}/token", ada.headers, self.BODY | {"value": "mine"})
        service = bearer(internal_token("users"))
        read = await users.get("/internal/settings/token", headers=service)
        own = await users.get("/internal/settings/token", params={"user_id": ada.id}, headers=service)
        default = await users.get("/internal/settings/site.name", headers=service)

        assert read.json() == {"key": "token", "value": SECRET, "type": "string"}
        assert own.json()["value"] == "mine"
        assert default.json()["value"] == KNOWN["site.name"].default
        for headers in ({}, ADMIN, bearer(internal_token("orders"))):
            assert (await users.get("/internal/settings/token", headers=headers)).status_code == 401
        assert (await users.get("/internal/settings/other", headers=service)).status_code == 404

    async def test_value_moved_to_another_row_is_not_opened(
        self, users: httpx.AsyncClient, database_url: str
    ) -> None:
        await put(users, f"{SYSTEM}/a", ADMIN, self.BODY)
        await put(users, f"{SYSTEM}/b", ADMIN, self.BODY | {"value": "other"})
        database = Database(database_url, pool_size=1)
        with database.transaction() as session:
            stolen = select(SETTINGS.c.sealed).where(SETTINGS.c.key == "a").scalar_subquery()
            session.connection().execute(SETTINGS.update().where(SETTINGS.c.key == "b").values(sealed=stolen))
        database.close()
        response = await users.get("/internal/settings/b", headers=bearer(internal_token("users")))

        assert response.status_code == 503
        assert SECRET not in response.text

    async def test_replacing_a_sealed_value_with_a_plain_one_leaves_no_secret(
        self, users: httpx.AsyncClient, database_url: str
    ) -> None:
        await put(users, f"{SYSTEM}/a", ADMIN, self.BODY)
        await put(users, f"{SYSTEM}/a", ADMIN)

        (row,) = rows_of(database_url, "")
        assert (row["sealed"], row["value"]) == (None, NOTICE["value"])


class TestOwn:
    async def test_settings_belong_to_one_person(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient
    ) -> None:
        ada, bob = await register(auth), await register(auth)
        added = await users.post(OWN, json={"key": "theme", **NOTICE}, headers=ada.headers)
        assert added.status_code == 201, added.text
        again = await users.post(OWN, json={"key": "theme", **NOTICE}, headers=ada.headers)

        assert again.status_code == 409
        assert (await users.get(f"{OWN}/theme", headers=bob.headers)).status_code == 404
        assert (await users.delete(f"{OWN}/theme", headers=bob.headers)).status_code == 404
        assert (await users.get(OWN, headers=bob.headers)).json() == []
        assert (await users.get(f"{SYSTEM}/theme", headers=ADMIN)).status_code == 404
        await put(users, f"{OWN}/theme", bob.headers, {"value": "1", "type": "number"})
        assert (await users.get(OWN, headers=ada.headers)).json() == [added.json()]

    async def test_known_keys_have_no_default_for_people(self, users: httpx.AsyncClient, ada: Person) -> None:
        assert (await users.get(f"{OWN}/site.name", headers=ada.headers)).status_code == 404

    async def test_requests_without_token_are_rejected(self, users: httpx.AsyncClient) -> None:
        assert (await users.get(OWN)).status_code == 401
        await put(users, f"{OWN}/a", {}, status=401)

    async def test_number_of_own_settings_is_limited(
        self, users: httpx.AsyncClient, ada: Person, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(store, "PERSONAL_MAX", 3)
        sent = [users.put(f"{OWN}/k{number}", json=NOTICE, headers=ada.headers) for number in range(8)]
        responses = await asyncio.gather(*sent)

        assert sorted(response.status_code for response in responses) == [200] * 3 + [409] * 5
        assert len(rows_of(database_url, ada.id)) == 3
        kept = (await users.get(OWN, headers=ada.headers)).json()
        await put(users, f"{OWN}/{kept[0]['key']}", ada.headers)  # replacing needs no room
        full = await users.post(OWN, json={"key": "more", **NOTICE}, headers=ada.headers)
        assert full.json()["code"] == "too_many_settings"

    async def test_limits_are_those_of_the_documentation(self) -> None:
        assert (store.PERSONAL_MAX, store.SYSTEM_MAX) == (500, 1000)

    async def test_deleting_the_account_deletes_its_settings(
        self, users: httpx.AsyncClient, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        ada, bob = await register(auth), await register(auth)
        for person in (ada, bob):
            await put(users, f"{OWN}/a", person.headers)
        await tell_deleted(users, ada)

        assert rows_of(database_url, ada.id) == []
        assert len(rows_of(database_url, bob.id)) == 1
        response = await users.put(f"{OWN}/a", json=NOTICE, headers=ada.headers)
        assert response.status_code in (404, 409)
        assert rows_of(database_url, ada.id) == []

    async def test_pages_follow_each_other(self, users: httpx.AsyncClient, ada: Person) -> None:
        for number in range(3):
            await put(users, f"{OWN}/k{number}", ada.headers)
        first = await users.get(OWN, params={"limit": 2}, headers=ada.headers)
        second = await users.get(f"{OWN}{first.links['next']['url']}", headers=ada.headers)

        assert [one["key"] for one in first.json() + second.json()] == ["k2", "k1", "k0"]
        assert "next" not in second.links


class TestEvents:
    @pytest.fixture(autouse=True)
    def _add_subscriber(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(app, "SUBSCRIBERS", {"listener": Subscriber(NOWHERE, SettingChanged)})

    async def test_change_emits_an_event_without_the_value(
        self, users: httpx.AsyncClient, ada: Person, database_url: str
    ) -> None:
        await put(users, f"{SYSTEM}/a", ADMIN, TestSealed.BODY)
        await put(users, f"{SYSTEM}/a", ADMIN, {"value": SECRET, "type": "string"})
        await put(users, f"{OWN}/b", ada.headers, {"value": SECRET, "type": "string"})
        await put(users, f"{OWN}/b", ada.headers, {"value": "1", "type": "json"})
        await users.put(f"{OWN}/b", json={"value": "x", "type": "json"}, headers=ada.headers)
        await users.delete(f"{SYSTEM}/a", headers=ADMIN)

        told = events(database_url, EVENTS)
        assert SECRET not in json.dumps([one.data for one in told])
        assert {one.topic for one in told} == {"setting.changed"}
        found = [tuple(one.data[name] for name in SettingChanged.model_fields) for one in told]
        assert sorted(found, key=str) == sorted(
            [
                ("a", None, True, False),
                ("a", None, False, False),
                ("b", ada.id, False, False),
                ("b", ada.id, False, False),
                ("a", None, False, True),
            ],
            key=str,
        )


async def test_number_of_system_settings_is_limited(
    users: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setattr(store, "SYSTEM_MAX", 2)
    for number in range(2):
        await put(users, f"{SYSTEM}/k{number}", ADMIN)
    refused = await put(users, f"{SYSTEM}/k2", ADMIN, status=409)

    assert refused["code"] == "too_many_settings"
    database = Database(database_url, pool_size=1)
    with database.transaction(write=False) as session:
        assert session.connection().execute(select(func.count()).select_from(SETTINGS)).scalar_one() == 2
    database.close()
