"""Data exports: requested, collected from all services, and downloaded only by their owner."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any
from zipfile import ZipFile

import httpx
import pytest
from sqlalchemy import event
from starlette.requests import ClientDisconnect

from contracts.events import ExportPart
from services.auth.app import create_app
from services.auth.errors import TooManyDownloads
from services.auth.export_models import Export, ExportDownload, ExportPiece
from services.auth.exports.downloads import AT_ONCE_MAX, LEASE, Downloads
from services.auth.exports.exports import Exports, asked_services, missing_services
from services.auth.mails.mails import Mails
from services.auth.models import EVENTS, LoginSession
from services.auth.settings import Settings
from shared.clock import now
from shared.data.database import Database
from shared.events.event import Sealed
from shared.testing import bearer, internal_token, running
from tests.auth.conftest import StoppedClock
from tests.auth.mailbox import Mailbox
from tests.auth.oauth.support import admin_token
from tests.auth.support import let_time_pass, login, refresh, register, rows
from tests.told import records, told

OTHERS = [name for name in asked_services() if name != "auth"]


async def ask(auth: httpx.AsyncClient, token: str) -> dict[str, Any]:
    response = await auth.post("/auth/me/export", headers=bearer(token))
    assert response.status_code == 202, response.text
    export: dict[str, Any] = response.json()
    assert response.headers["location"] == f"/auth/me/exports/{export['id']}"
    return export


async def show(auth: httpx.AsyncClient, token: str, export: dict[str, Any], path: str = "") -> httpx.Response:
    return await auth.get(f"/auth/me/exports/{export['id']}{path}", headers=bearer(token))


async def deliver(auth: httpx.AsyncClient, *bodies: str, source: str) -> None:
    headers = bearer(internal_token("auth", issuer=source)) | {"Content-Type": "application/json"}
    content = f'{{"events":[{",".join(bodies)}]}}'
    assert (await auth.post("/internal/events", content=content, headers=headers)).status_code == 204


async def answer(auth: httpx.AsyncClient, export: dict[str, Any], service: str, *pieces: str) -> None:
    """Send the part of another service, and its end."""
    sent = [
        ExportPart(service=service, export_id=export["id"], number=n, section="things", content=text)
        for n, text in enumerate(pieces)
    ]
    last = ExportPart(service=service, export_id=export["id"], number=len(pieces), is_last=True)
    await deliver(auth, *(Sealed(service, one).body for one in [*sent, last]), source=service)


async def answer_itself(auth: httpx.AsyncClient, database_url: str) -> None:
    """Deliver the events that auth sends to itself, as its relay would."""
    done: set[str] = set()
    while new := [
        one for one in told(database_url, EVENTS) if one.topic.startswith("export.") and one.id not in done
    ]:
        done |= {one.id for one in new}
        await deliver(auth, *(one.model_dump_json() for one in new), source="auth")


async def finished(auth: httpx.AsyncClient, token: str, database_url: str) -> dict[str, Any]:
    export = await ask(auth, token)
    for service in OTHERS:
        await answer(auth, export, service)
    await answer_itself(auth, database_url)
    assert (await show(auth, token, export)).json()["state"] == "done"
    return export


def unpacked(response: httpx.Response) -> dict[str, str]:
    with ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


async def test_all_services_respond_and_the_owner_downloads(
    auth: httpx.AsyncClient, database_url: str
) -> None:
    ann = await register(auth, username="ann")
    token = ann["token"]
    body = {"name": "nightly", "scopes": ["orders:read"]}
    key = (await auth.post("/auth/me/tokens", json=body, headers=bearer(token))).json()
    export = await ask(auth, token)
    assert (export["state"], export["progress"], export["total"]) == ("gathering", 0, len(OTHERS) + 1)
    assert (await show(auth, token, export, "/archive")).json()["code"] == "export_not_ready"
    for number, service in enumerate(OTHERS):
        await answer(auth, export, service, '{"a": "', 'ä"}\n')
        assert (await show(auth, token, export)).json()["progress"] == number + 1
    await answer_itself(auth, database_url)
    shown = (await show(auth, token, export)).json()
    assert (shown["state"], shown["missing"]) == ("done", [])

    response = await show(auth, token, export, "/archive")
    files = unpacked(response)
    assert response.headers["content-type"] == "application/zip"
    assert "attachment" in response.headers["content-disposition"]
    for service in OTHERS:
        assert json.loads(files[f"{service}/things.jsonl"]) == {"a": "ä"}
    (account,) = [json.loads(line) for line in files["auth/account.jsonl"].splitlines()]
    assert (account["id"], account["username"]) == (ann["user"]["id"], "ann")
    assert json.loads(files["auth/personal_access_tokens.jsonl"])["name"] == "nightly"
    assert json.loads(files["manifest.json"])["missing"] == []
    whole = "".join(files.values())
    for secret in (key["token"], ann["refresh_token"], "$2b$", "password_hash", "token_hash", "secret_hash"):
        assert secret not in whole
    actions = [one["action"] for one in records(database_url, EVENTS)]
    assert actions.count("REQUEST_EXPORT") == actions.count("DOWNLOAD_EXPORT") - 0 == 1


async def test_export_is_404_for_other_accounts(auth: httpx.AsyncClient, database_url: str) -> None:
    ann, bob = await register(auth), await register(auth)
    export = await finished(auth, ann["token"], database_url)
    for token in (bob["token"], await admin_token(auth)):
        for path in ("", "/archive"):
            assert (await show(auth, token, export, path)).status_code == 404
        deleted = await auth.delete(f"/auth/me/exports/{export['id']}", headers=bearer(token))
        assert deleted.status_code == 404
        assert (await auth.get("/auth/me/exports", headers=bearer(token))).json() == []
    assert (await auth.get(f"/auth/me/exports/{export['id']}/archive")).status_code == 401
    body = {"name": "all", "scopes": ["full_access"]}
    key = (await auth.post("/auth/me/tokens", json=body, headers=bearer(ann["token"]))).json()["token"]
    service = bearer(internal_token("auth"))
    exchanged = await auth.post("/internal/exchange", json={"credential": key}, headers=service)
    refused = await show(auth, exchanged.json()["token"], export, "/archive")
    assert refused.json()["code"] == "not_interactive"
    assert len((await auth.get("/auth/me/exports", headers=bearer(ann["token"]))).json()) == 1


async def test_exports_are_limited_per_day_even_if_they_are_deleted(
    auth: httpx.AsyncClient, database_url: str
) -> None:
    token = (await register(auth))["token"]
    first, second = await finished(auth, token, database_url), await ask(auth, token)
    for export in (first, second):
        assert (
            await auth.delete(f"/auth/me/exports/{export['id']}", headers=bearer(token))
        ).status_code == 204
        assert (await show(auth, token, export)).status_code == 404
    refused = await auth.post("/auth/me/export", headers=bearer(token))

    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_exports")
    assert 86_000 < int(refused.headers["retry-after"]) <= 86_401
    assert rows(database_url, ExportPiece) == []
    let_time_pass(database_url, Export, "created", timedelta(days=1))
    await ask(auth, token)


async def test_parts_of_strangers_and_repeated_parts_are_ignored(
    auth: httpx.AsyncClient, database_url: str
) -> None:
    token = (await register(auth))["token"]
    export = await ask(auth, token)
    part = ExportPart(service="orders", export_id=export["id"], number=0, section="orders", content="mine\n")
    await deliver(auth, Sealed("files", part).body, source="files")  # in the name of another service
    assert rows(database_url, ExportPiece) == []
    unknown = ExportPart(service="weather", export_id=export["id"], number=0, is_last=True)
    await deliver(auth, Sealed("weather", unknown).body, source="weather")
    nowhere = part.model_copy(update={"export_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234"})
    await deliver(auth, Sealed("orders", nowhere).body, source="orders")
    assert rows(database_url, ExportPiece) == []
    for _ in range(2):
        await deliver(auth, Sealed("orders", part).body, source="orders")
    assert [one["content"] for one in rows(database_url, ExportPiece)] == ["mine\n"]


async def test_a_service_that_does_not_respond_is_named_after_a_while(
    make_auth_settings: Callable[..., Settings], database_url: str, mailbox: Mailbox
) -> None:
    settings = make_auth_settings()
    async with running(create_app, settings) as auth:
        ann = await register(auth)
        export = await ask(auth, ann["token"])
        for service in OTHERS[1:]:
            await answer(auth, export, service)
        await answer_itself(auth, database_url)
        tidy(settings)
        assert (await show(auth, ann["token"], export)).json()["missing"] == [OTHERS[0]]
        let_time_pass(database_url, Export, "created", timedelta(minutes=61))
        tidy(settings)
        shown = (await show(auth, ann["token"], export)).json()
        await answer(auth, export, OTHERS[0], "too late\n")
        files = unpacked(await show(auth, ann["token"], export, "/archive"))

    assert (shown["state"], shown["missing"]) == ("done", [OTHERS[0]])
    assert json.loads(files["manifest.json"])["missing"] == [OTHERS[0]]
    assert f"{OTHERS[0]}/things.jsonl" not in files
    assert len(mailbox.mails(ann["user"]["email"], "export_ready")) == 1


async def test_it_expires(make_auth_settings: Callable[..., Settings], database_url: str) -> None:
    settings = make_auth_settings()
    async with running(create_app, settings) as auth:
        ann = await register(auth, username="ann")
        export = await finished(auth, ann["token"], database_url)
        for column in ("expires", "created"):
            let_time_pass(database_url, Export, column, timedelta(hours=73))
        token = (await login(auth, "ann")).json()["token"]
        assert (await show(auth, token, export, "/archive")).status_code == 404
        assert len(rows(database_url, ExportPiece)) > 0
        tidy(settings)

    assert rows(database_url, Export) == rows(database_url, ExportPiece) == []


async def test_deleted_account_leaves_no_exports(auth: httpx.AsyncClient, database_url: str) -> None:
    ann = await register(auth)
    await finished(auth, ann["token"], database_url)
    service = bearer(internal_token("auth", issuer="users"))
    await auth.delete(f"/internal/accounts/{ann['user']['id']}", headers=service)

    assert rows(database_url, Export) == rows(database_url, ExportPiece) == []


@pytest.mark.parametrize("export_id", ["x", "0198c0de-4b20-7c31-9000-a7d8e9f01234"])
async def test_unknown_exports_are_not_found(auth: httpx.AsyncClient, export_id: str) -> None:
    token = (await register(auth))["token"]
    response = await show(auth, token, {"id": export_id}, "/archive")

    assert response.status_code in (404, 422)


def tidy(settings: Settings) -> None:
    """What the duty does each minute."""
    database = Database(settings.database_url, pool_size=1)
    from contracts.events import SUBSCRIBERS
    from shared.events import Events
    from shared.peers.client import HttpClient

    Events(EVENTS, {}, SUBSCRIBERS).attach(settings, database, HttpClient())
    Exports(settings, database, Mails(settings)).tidy(bool)
    database.close()


async def test_requesting_and_downloading_require_a_recent_sign_in(
    auth: httpx.AsyncClient, database_url: str
) -> None:
    ann = await register(auth)
    export = await finished(auth, ann["token"], database_url)
    let_time_pass(database_url, LoginSession, "created", timedelta(minutes=16))
    old = (await refresh(auth, ann["refresh_token"])).json()["token"]
    requested = await auth.post("/auth/me/export", headers=bearer(old))
    refused = [requested, await show(auth, old, export, "/archive")]

    assert [one.json()["code"] for one in refused] == ["insufficient_user_authentication"] * 2
    assert (await show(auth, old, export)).status_code == 200


async def test_downloads_are_limited_per_hour(
    auth: httpx.AsyncClient, database_url: str, clock: StoppedClock
) -> None:
    token = (await register(auth))["token"]
    export = await finished(auth, token, database_url)
    responses = [await show(auth, token, export, "/archive") for _ in range(6)]

    assert [one.status_code for one in responses] == [200] * 5 + [429]
    assert responses[-1].json()["code"] == "too_many_downloads"
    assert responses[-1].headers["retry-after"] == "3600"
    clock.advance(3601)
    assert (await show(auth, token, export, "/archive")).status_code == 200


async def test_an_account_downloads_one_archive_at_a_time_from_all_replicas(
    auth: httpx.AsyncClient, database_url: str
) -> None:
    account_id = (await register(auth))["user"]["id"]
    one, other = Database(database_url, pool_size=1), Database(database_url, pool_size=1)
    first, second = Downloads(one), Downloads(other)
    lease_id = await first.begin(account_id)
    begun = first.response(lease_id, content(), {})
    for replica in (first, second):
        with pytest.raises(TooManyDownloads) as raised:
            await replica.begin(account_id)
        assert raised.value.headers["Retry-After"] == "30"
    with suppress(ClientDisconnect):
        await begun({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, hang_up)

    assert rows(database_url, ExportDownload) == []
    assert await second.begin(account_id)
    one.close()
    other.close()


async def test_killed_download_holds_its_account_up_for_a_minute_only(
    auth: httpx.AsyncClient, database_url: str
) -> None:
    account_id = (await register(auth))["user"]["id"]
    database = Database(database_url, pool_size=1)
    downloads = Downloads(database)
    abandoned = await downloads.begin(account_id)
    let_time_pass(database_url, ExportDownload, "expires", LEASE)
    taken_over = await downloads.begin(account_id)
    await downloads.ended(abandoned)  # it was only slow, and no longer holds the lease

    assert [row["lease_id"] for row in rows(database_url, ExportDownload)] == [taken_over]
    database.close()


async def test_running_download_renews_its_lease(
    auth: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.auth.exports.downloads.RENEW_SECONDS", 0.01)
    account_id = (await register(auth))["user"]["id"]
    database = Database(database_url, pool_size=1)
    downloads = Downloads(database)
    lease_id = await downloads.begin(account_id)
    let_time_pass(database_url, ExportDownload, "expires", LEASE)

    async def slowly() -> AsyncIterator[bytes]:
        yield b"zip"
        async with asyncio.timeout(60):
            while True:
                if rows(database_url, ExportDownload)[0]["expires"] > now():
                    return
                await asyncio.sleep(0.01)

    async def send(_message: Any) -> None:
        pass

    response = downloads.response(lease_id, slowly(), {})
    await response({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, send)
    assert rows(database_url, ExportDownload) == []
    database.close()


async def test_replica_sends_four_archives_at_once(auth: httpx.AsyncClient, database_url: str) -> None:
    accounts = [(await register(auth))["user"]["id"] for _ in range(AT_ONCE_MAX + 2)]
    database = Database(database_url, pool_size=1)
    downloads = Downloads(database)
    begun = await asyncio.gather(*map(downloads.begin, accounts), return_exceptions=True)
    leases = [one for one in begun if isinstance(one, str)]

    assert len(leases) == AT_ONCE_MAX
    assert all(isinstance(one, str | TooManyDownloads) for one in begun)
    assert {row["lease_id"] for row in rows(database_url, ExportDownload)} == set(leases)
    await downloads.ended(leases[0])
    assert await downloads.begin(accounts[begun.index(next(one for one in begun if one not in leases))])
    database.close()


async def content() -> AsyncIterator[bytes]:
    yield b"zip"


async def hang_up(_message: Any) -> None:
    raise OSError("the client is gone")


async def receive() -> Any:
    return {"type": "http.disconnect"}


def test_missing_services_are_found_without_reading_all_pieces(
    make_auth_settings: Callable[..., Settings],
) -> None:
    database = Database(make_auth_settings().database_url, pool_size=1)
    statements: list[str] = []
    export = Export(id="x", account_id="y", services="orders", expires=now())
    event.listen(database.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    with database.transaction(write=False) as session:
        assert missing_services(session, export) == ["orders"]
        asked = statements[-1]
        if database.engine.dialect.name == "sqlite":
            plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}", ("x",)).all()
            assert "ix_export_pieces_last" in str(plan)
        else:
            session.connection().exec_driver_sql("SET LOCAL enable_seqscan = off")
            plan = session.connection().exec_driver_sql(f"EXPLAIN {asked}", {"export_id_1": "x"}).all()
            assert "ix_export_pieces_last" in str(plan)
    database.close()
