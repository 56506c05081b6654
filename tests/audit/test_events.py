"""How records reach the log: sent by other services, stored once, and signed by the caretaker."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import httpx
import pytest
from pydantic import SecretStr, ValidationError
from sqlalchemy import select

from services.audit.app import create_app
from services.audit.models import EVENTS
from services.audit.settings import Settings
from shared.ids import new_id
from shared.testing import bearer, internal_token, running, token
from tests.audit.support import ALICE, BOB, Log

ADMIN = bearer(token(role="admin"))
WAIT_SECONDS = 20


@pytest.fixture
async def hasty(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A service with very short intervals."""
    hasty_settings = settings.model_copy(update={"checkpoint_seconds": 0.1})
    async with running(create_app, hasty_settings) as client:
        yield client


def recorded(user_id: str | None = ALICE, **changes: Any) -> dict[str, Any]:
    data = {
        "user_id": user_id,
        "actor": f"user:{user_id}" if user_id else "anonymous",
        "action": "FILE_UPLOAD",
        "resource": new_id(),
        "ip": "192.0.2.1",
        "user_agent": "curl/7.68.0",
        "metadata": {"filename": "document.pdf", "size": 1024000},
        "timestamp": "2025-10-15T10:35:00Z",
        "outcome": "success",
        "status": 201,
        "service": "files",
        "request_id": None,
        "trace_id": None,
    }
    return envelope("action.recorded", data["actor"], data | changes)


def deleted(user_id: str) -> dict[str, Any]:
    return envelope("account.deleted", user_id, {"account_id": user_id, "deleted": "2025-10-15T10:35:00Z"})


def envelope(topic: str, key: Any, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": new_id(),
        "topic": topic,
        "version": 1,
        "key": f"{topic.partition('.')[0]} {key}",
        "source": "auth" if topic == "account.deleted" else "files",
        "time": "2025-10-15T10:35:00Z",
        "data": data,
    }


async def send(audit: httpx.AsyncClient, *envelopes: dict[str, Any]) -> None:
    """Send events like their source services."""
    for source, own in groupby(envelopes, key=lambda one: one["source"]):
        headers = bearer(internal_token("audit", issuer=source))
        response = await audit.post("/internal/events", json={"events": [*own]}, headers=headers)
        assert response.status_code == 204, response.text


async def logs(audit: httpx.AsyncClient, query: str = "") -> list[dict[str, Any]]:
    response = await audit.get(f"/audit/logs{query}", headers=ADMIN)
    found: list[dict[str, Any]] = response.json()
    return found


async def becomes(audit: httpx.AsyncClient, url: str, wanted: Any) -> bool:
    """Whether the response meets the condition before the timeout."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not wanted((await audit.get(url, headers=ADMIN)).text):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


class TestKeep:
    async def test_record_is_stored_as_it_was_sent(self, audit: httpx.AsyncClient) -> None:
        sent = recorded()
        await send(audit, sent)
        (kept,) = await logs(audit)

        assert kept["id"] == sent["id"]
        assert {name: kept[name] for name in sent["data"]} == sent["data"]

    async def test_event_sent_repeatedly_is_stored_once(self, audit: httpx.AsyncClient) -> None:
        one, two = recorded(), recorded()
        await send(audit, one, two)
        await send(audit, two, one, one)

        assert [kept["id"] for kept in await logs(audit)] == [two["id"], one["id"]]

    async def test_records_are_stored_in_the_order_of_arrival(self, audit: httpx.AsyncClient) -> None:
        sent = [recorded() for _ in range(150)]
        await send(audit, *sent[:100])
        await send(audit, *sent[100:])

        kept = await logs(audit, "?limit=200")
        assert [one["seq"] for one in kept] == list(reversed(range(150)))
        assert [one["id"] for one in kept] == [one["id"] for one in reversed(sent)]

    async def test_record_of_an_unknown_version_does_not_delay_others_of_its_actor(
        self, audit: httpx.AsyncClient
    ) -> None:
        unknown, other = recorded() | {"version": 2}, recorded()
        await send(audit, unknown, other)
        await send(audit, third := recorded())

        assert [one["id"] for one in await logs(audit)] == [third["id"], other["id"]]

    async def test_event_that_claims_to_be_a_statement_is_dead(
        self, audit: httpx.AsyncClient, settings: Settings
    ) -> None:
        await send(audit, recorded(None, actor="log", action="RETENTION_CUT"), recorded())

        assert [one["action"] for one in await logs(audit)] == ["FILE_UPLOAD"]
        with Log(settings) as log, log.database.transaction(write=False) as session:
            (parked,) = session.connection().execute(select(EVENTS.parked)).all()
        assert parked.dead
        assert parked.reason == "only the log itself may record its own statements"

    async def test_record_of_another_service_is_refused(self, audit: httpx.AsyncClient) -> None:
        """A service can neither send under another name nor send a record that names another service."""
        headers = bearer(internal_token("audit", issuer="orders"))
        sent = {"events": [recorded(), recorded() | {"source": "orders"}]}
        response = await audit.post("/internal/events", json=sent, headers=headers)
        await send(audit, recorded(service="orders"))

        assert response.status_code == 204
        assert await logs(audit) == []

    async def test_deletion_of_an_account_is_accepted_only_from_auth(
        self, audit: httpx.AsyncClient, settings: Settings
    ) -> None:
        await send(audit, deleted(ALICE) | {"source": "files"})

        with Log(settings) as log, log.database.transaction(write=False) as session:
            assert session.connection().execute(select(EVENTS.inbox)).all() == []

    async def test_events_require_an_internal_token(self, audit: httpx.AsyncClient) -> None:
        body = {"events": [recorded()]}

        assert (await audit.post("/internal/events", json=body)).status_code == 401
        assert (await audit.post("/internal/events", json=body, headers=ADMIN)).status_code == 401
        assert await logs(audit) == []

    async def test_read_by_an_admin_is_recorded_as_an_event(
        self, audit: httpx.AsyncClient, settings: Settings
    ) -> None:
        await logs(audit)
        with Log(settings) as log, log.database.transaction(write=False) as session:
            (body,) = session.connection().execute(select(EVENTS.outbox.c.body)).scalars()

        assert '"action":"LIST_LOGS"' in body


class TestErasure:
    async def test_deleted_account_is_erased(self, hasty: httpx.AsyncClient) -> None:
        deletion = recorded(None, action="DELETE_ACCOUNT", service="auth", resource=ALICE)
        await send(hasty, recorded(ALICE), recorded(BOB), deleted(ALICE), deletion | {"source": "auth"})

        assert await becomes(hasty, f"/audit/logs?user_id={ALICE}", lambda text: "document.pdf" not in text)
        (mine,) = await logs(hasty, f"?user_id={ALICE}")
        assert (mine["ip"], mine["user_agent"], mine["metadata"]) == (None, None, None)
        (other,) = await logs(hasty, f"?user_id={BOB}")
        assert other["metadata"] == {"filename": "document.pdf", "size": 1024000}
        verified = (await hasty.get("/audit/verify", headers=ADMIN)).json()
        assert (verified["faults"], verified["unproven"]) == ([], [])


class TestTheCaretaker:
    async def test_signs_new_records(self, hasty: httpx.AsyncClient) -> None:
        await send(hasty, recorded(), recorded())

        assert await becomes(hasty, "/audit/checkpoint", lambda text: text.splitlines()[1] == "2")

    async def test_signs_the_last_records_at_shutdown(self, settings: Settings) -> None:
        async with running(create_app, settings) as client:
            await send(client, recorded())
        async with running(create_app, settings) as client:
            assert (await client.get("/audit/checkpoint")).text.splitlines()[1] == "1"

    async def test_continues_after_a_failure(
        self, hasty: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failures = []

        def fail(*_: object) -> None:
            failures.append(datetime.now(UTC))
            raise OSError

        with monkeypatch.context() as patched:
            patched.setattr("services.audit.checkpoints.Anchor._append", fail)
            await send(hasty, recorded())
            assert await becomes(
                hasty, "/audit/checkpoint", lambda text: text.splitlines()[1] == "1" and failures
            )
        await send(hasty, recorded())
        assert await becomes(hasty, "/audit/checkpoint", lambda text: text.splitlines()[1] == "2")

    async def test_lost_anchor_is_written_again(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Log(settings) as log:
            log.fill(300)
            Log.sign(log)
            assert settings.anchor_file is not None
            settings.anchor_file.unlink()
        async with running(create_app, settings) as client:
            await client.get("/audit/checkpoint")

        sizes = [line for line in settings.anchor_file.read_text().splitlines() if line.isdecimal()]
        assert sizes == ["256", "300"]


NEW_SECRET = SecretStr("70f1e2d3c4b5a69788796a5b4c3d2e1f")


class TestChangingTheKey:
    async def test_both_keys_sign_during_a_change(self, settings: Settings) -> None:
        async with running(create_app, settings) as client:
            await send(client, recorded())
            old = (await client.get("/audit/key")).json()["key"]
        changed = {"key_secret": NEW_SECRET, "key_secret_previous": settings.key_secret}
        async with running(create_app, settings.model_copy(update=changed)) as client:
            await send(client, recorded())
            keys = (await client.get("/audit/key")).json()
            verified = (await client.get("/audit/verify", headers=ADMIN)).json()
            note = (await client.get("/audit/checkpoint")).text

        assert keys["keys"] == [keys["key"], old]
        assert verified["faults"] == []
        assert note.count("— gatehouse/audit ") == 2

    async def test_old_key_is_still_accepted_after_the_change(self, settings: Settings) -> None:
        with Log(settings) as log:
            log.fill(300)
            log.sign()
            (old,) = log.keys
        changed = {"key_secret": NEW_SECRET, "old_keys": old.text}
        async with running(create_app, settings.model_copy(update=changed)) as client:
            await send(client, recorded())
            verified = (await client.get("/audit/verify", headers=ADMIN)).json()
            note = (await client.get("/audit/checkpoint")).text

        assert (verified["faults"], verified["records"]) == ([], 301)
        assert note.count("— gatehouse/audit ") == 1

    async def test_nothing_is_signed_without_the_old_key(self, settings: Settings) -> None:
        async with running(create_app, settings) as client:
            await send(client, recorded())
        async with running(create_app, settings.model_copy(update={"key_secret": NEW_SECRET})) as client:
            await send(client, recorded())
            verified = (await client.get("/audit/verify", headers=ADMIN)).json()

        assert verified["intact"] is False
        assert verified["faults"][0]["kind"] == "foreign_key"
        assert verified["remarks"] == ["records 1 to 1 are not signed"]


class TestSettings:
    @pytest.mark.parametrize(
        "values",
        [
            {"environment": "production", "key_secret": ""},
            {"key_secret": "too short"},
            {"key_secret_previous": "too short"},
            {"old_keys": "nonsense"},
            {"log_name": "with space"},
            {"log_name": "with+plus"},
            {"checkpoint_seconds": 0},
            {"retention_months": -1},
        ],
    )
    def test_invalid_settings_are_refused(
        self, make_settings: Callable[..., Settings], values: dict[str, Any]
    ) -> None:
        with pytest.raises(ValidationError) as refused:
            make_settings(Settings, **values)

        assert [fault["loc"] for fault in refused.value.errors()] == [([*values][-1],)]
