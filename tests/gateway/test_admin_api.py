"""The gateway's state for admins on the public port: who sees it, what it shows, and how it is recorded."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.policies.credential_exchange import EXCHANGE
from gateway.policies.failed_credentials import Failures
from gateway.runtime.process_status import Inside
from gateway.site.admin.access import SCOPE
from gateway.site.admin.openapi import EXPLAIN, READS, admin_schemas
from gateway.telemetry import metrics
from shared import __version__
from shared.testing import bearer, token
from tests.gateway.backends import Backend, Conversation, Received
from tests.gateway.conftest import Start, StartBackend
from tests.gateway.support import RunningGateway, eventually

ADMIN = token("a-1", role="admin")
OWN = "http://127.0.0.1:8083"


async def received_by(conversation: Conversation) -> Received | None:
    """Return the next request with its body; httpx writes the names of headers in another case."""
    request = await conversation.head()
    if request is not None:
        length = next((value for name, value in request.headers if name.lower() == "content-length"), "0")
        request.body = await conversation.reader.readexactly(int(length))
    return request


@pytest.fixture
async def audit(start_backend: StartBackend, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """Receives records like audit, but fails the first time."""
    attempts = []

    async def receive(conversation: Conversation) -> None:
        while (request := await received_by(conversation)) is not None:
            attempts.append(request)
            await conversation.answer(status="503 Later" if len(attempts) == 1 else "204 No Content")

    backend = await start_backend(receive)
    monkeypatch.setenv("AUDIT_URL", backend.url)
    monkeypatch.setattr("gateway.site.admin.records.PAUSE_SECONDS", 0.01)
    return backend


@pytest.fixture
async def auth(start_backend: StartBackend) -> Backend:
    """Exchanges one session and two access keys for tokens, like auth."""
    known = {
        "session-1": ADMIN,
        "gatehouse_pat_wide": token("a-1", role="admin", scope=SCOPE),
        "gatehouse_pat_narrow": token("a-1", role="admin", scope="orders:read"),
    }

    async def exchange(conversation: Conversation) -> None:
        while (request := await received_by(conversation)) is not None:
            credential = json.loads(request.body or b"{}").get("credential")
            if credential in known:
                await conversation.answer_json({"token": known[credential], "expires_in": 600})
            else:
                await conversation.answer_json({"code": "unknown"}, "404 Not Found")

    return await start_backend(exchange)


@pytest.fixture
async def gateway(start_gateway: Start, backend: Backend, audit: Backend, auth: Backend) -> RunningGateway:
    metrics.RECENT.clear()
    limits = "rate_limit: {rate: 9/m, key: ip}, concurrency: {max: 5, key: ip}"
    return await start_gateway(
        f"""
routes:
  - {{path: /open, backend: "{backend.url}", auth: none, methods: [GET], {limits}}}
  - {{path: /orders, backend: "{backend.url}"}}
  - {{path: /orders/all, backend: "{backend.url}", roles: [admin]}}
aliases: [{{path: /api/v1, to: /, envelope: v1}}]
""",
        auth_url=auth.url,
        session_cookie="session",
        oauth_issuer=OWN,
    )


async def sent_whole(backend: Backend, number: int) -> None:
    """Wait for this many requests; a request is received before its body has arrived."""
    await eventually(lambda: len(backend.received) == number and bool(backend.received[-1].body))


async def show(gateway: RunningGateway, path: str) -> Any:
    answer = await gateway.request("GET", path, bearer(ADMIN))
    assert (answer.status, answer.value("cache-control")) == (200, "no-store"), answer
    return answer.json()


async def explain(gateway: RunningGateway, body: Any, **headers: str) -> Any:
    sent = {"Content-Type": "application/json", **bearer(ADMIN), **headers}
    return await gateway.request("POST", EXPLAIN, sent, json.dumps(body).encode())


async def test_only_admins_see_the_gateway(gateway: RunningGateway) -> None:
    narrow = token("a-1", role="admin", scope="admin:orders")
    wide = token("a-1", role="admin", scope=SCOPE)
    for path in READS:
        for headers, status, code in (
            ({}, 401, "unauthenticated"),
            (bearer("x.y.z"), 401, "invalid_token"),
            (bearer(token()), 403, "forbidden"),
            (bearer(token(scope=SCOPE)), 403, "forbidden"),
            (bearer(narrow), 403, "insufficient_scope"),
            (bearer("gatehouse_pat_narrow"), 403, "insufficient_scope"),
            (bearer("gatehouse_pat_unknown"), 401, "invalid_token"),
            ({"Cookie": "session=ended"}, 401, "session_over"),
        ):
            refused = await gateway.request("GET", path, headers)
            assert (refused.status, refused.code) == (status, code), (path, headers)
        for headers in (bearer(ADMIN), bearer(wide), {"Cookie": "session=session-1"}):
            assert (await gateway.request("GET", path, headers)).status == 200, (path, headers)
    assert (await gateway.request("POST", "/gateway/status", bearer(ADMIN))).status == 405


async def test_pages_of_other_sites_cannot_use_a_session(gateway: RunningGateway) -> None:
    sent = {"Cookie": "session=session-1", "Content-Type": "application/json"}
    for origin, status in (("https://evil.example", 403), (OWN, 200)):
        answer = await gateway.request("POST", EXPLAIN, {**sent, "Origin": origin}, b'{"target": "/"}')
        assert answer.status == status


@pytest.mark.parametrize(
    ("known", "unknown"),
    [
        ({"Cookie": "session=session-1"}, [{"Cookie": f"session=guess-{n}"} for n in range(11)]),
        (bearer("gatehouse_pat_wide"), [bearer(f"gatehouse_pat_guess-{n}") for n in range(11)]),
    ],
    ids=["cookies", "keys"],
)
async def test_stranger_can_guess_few_credentials_and_keeps_no_admin_out(
    gateway: RunningGateway,
    auth: Backend,
    known: dict[str, str],
    unknown: list[dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gateway.state, "failures", Failures(per_second=1))  # ten at once
    monkeypatch.setattr("gateway.site.admin.access.time", SimpleNamespace(monotonic=lambda: 0.0))
    assert (await gateway.request("GET", "/gateway/status", known)).status == 200
    auth.received.clear()

    answers = [await gateway.request("GET", "/gateway/status", headers) for headers in unknown]
    assert [answer.status for answer in answers] == [401] * 10 + [429]
    assert len([one for one in auth.received if one.target == EXCHANGE]) == 10
    assert (await gateway.request("GET", "/gateway/status", known)).status == 200


async def test_revoked_token_sees_nothing(gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    await show(gateway, "/gateway/status")
    caller = gateway.state.verifier.remembered(ADMIN)
    assert caller is not None
    monkeypatch.setattr(gateway.state.verifier.revocations, "cover", lambda one: one == caller)
    refused = await gateway.request("GET", "/gateway/status", bearer(ADMIN))
    assert (refused.status, refused.code) == (401, "invalid_token")


async def test_status_shows_version_workers_and_the_last_load(gateway: RunningGateway) -> None:
    gateway.write("routes: [{path: /open}]")
    await gateway.reload.now()
    status = await show(gateway, "/gateway/status")
    (worker,) = status["workers"]
    assert (status["version"], status["routes"], worker["ready"]) == (__version__, 3, True)
    assert worker["reload"]["success"] is False
    assert any("backend" in fault for fault in worker["reload"]["faults"])


async def test_routes_targets_and_limits_are_shown(gateway: RunningGateway, backend: Backend) -> None:
    await gateway.request("GET", "/open")
    routes = await show(gateway, "/gateway/routes")
    opened, orders, every = routes["routes"]
    assert (routes["total"], opened["path"], opened["auth"], opened["concurrency"]) == (3, "/open", "none", 5)
    assert opened["rate_limits"] == [{"count": 9, "seconds": 60, "burst": 1, "key": "ip"}]
    assert (orders["auth"], orders["targets"], every["roles"]) == ("required", [backend.url], ["admin"])
    assert routes["aliases"] == [{"path": "/api/v1", "to": "/", "envelope": True}]
    (target,) = await show(gateway, "/gateway/targets")
    assert (target["url"], target["healthy"], target["connections"]) == (backend.url, True, 1)
    limits = {line["route"]: line for line in await show(gateway, "/gateway/limits")}
    assert limits["open"]["under_way"] == 0
    assert [*limits["open"]["rate_limits"].values()] == [1]
    assert limits["orders"]["under_way"] is None


async def test_lists_are_bounded(gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.site.admin.schemas.ROUTES_MAX", 2)
    monkeypatch.setattr("gateway.site.admin.api.LINES_MAX", 1)
    routes = await show(gateway, "/gateway/routes")
    assert (routes["total"], len(routes["routes"])) == (3, 2)
    assert len(await show(gateway, "/gateway/limits")) == 1


async def test_latest_errors_are_shown_without_secrets(gateway: RunningGateway) -> None:
    await gateway.request("DELETE", "/open")
    answer = await gateway.request("GET", "/orders?secret=1", bearer("secret"))
    found = await show(gateway, "/gateway/errors")
    assert [(one["status"], one["code"], one["route"]) for one in found] == [
        (401, "invalid_token", "orders"),
        (405, "method_not_allowed", "open"),
    ]
    assert found[0]["request_id"] == answer.value("x-request-id")
    assert "secret" not in str(found)


async def test_backups_are_listed_if_the_gateway_knows_their_folder(
    gateway: RunningGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert await show(gateway, "/gateway/backups") == {"known": False, "backups": []}

    folder = tmp_path / "backups"
    folder.mkdir()
    for name in ("2026-11-27T03-00-00Z.tar", "2026-11-28T03-00-00Z.tar", "2026-11-28T03-00-00Z.tar.part"):
        (folder / f"gatehouse-{name}").write_bytes(b"backup")
    found = await show(gateway, "/gateway/backups")
    assert found["known"]
    assert [(one["name"], one["taken"], one["size"]) for one in found["backups"]] == [
        ("gatehouse-2026-11-28T03-00-00Z.tar", "2026-11-28T03:00:00Z", 6),
        ("gatehouse-2026-11-27T03-00-00Z.tar", "2026-11-27T03:00:00Z", 6),
    ]
    monkeypatch.setattr("gateway.site.admin.api.BACKUPS_MAX", 1)
    assert len((await show(gateway, "/gateway/backups"))["backups"]) == 1


async def test_request_is_explained_and_not_sent(gateway: RunningGateway, backend: Backend) -> None:
    for body, outcome, words in (
        ({"target": "/orders/7"}, "refused", "401 unauthenticated"),
        ({"target": "/orders/7", "role": "user"}, "forwarded", "forwarded if the limits allow it"),
        ({"target": "/orders/all", "role": "user"}, "refused", "This needs the role admin."),
        ({"target": "/orders/all", "role": "admin"}, "forwarded", "forwarded if the limits allow it"),
        ({"target": "/open", "method": "DELETE"}, "refused", "405 method_not_allowed"),
        ({"target": "/open/../x"}, "refused", "400 bad_path"),
        ({"target": "/health"}, "own", "the gateway's own response"),
    ):
        answer = await explain(gateway, body)
        found = answer.json()
        assert (answer.status, found["outcome"]) == (200, outcome), (body, found)
        assert words in found["result"]
        assert [step["name"] for step in found["steps"]][:1] == ["request"]
    answer = await explain(gateway, {"target": "/orders", "headers": ["Authorization: Bearer secret-1"]})
    assert "secret-1" not in answer.body.decode()
    assert backend.received == []


async def test_what_cannot_be_explained_is_refused_with_the_field(gateway: RunningGateway) -> None:
    for body, field in (
        ({}, "target"),
        ({"target": "//evil["}, "target"),
        ({"target": "/é"}, "target"),
        ({"target": "/" + "x" * 2_000}, "target"),
        ({"target": "/", "method": "get"}, "method"),
        ({"target": "/", "host": "a b"}, "host"),
        ({"target": "/", "role": "owner"}, "role"),
        ({"target": "/", "headers": ["no colon"]}, "headers.0"),
        ({"target": "/", "headers": ["X: 1"] * 51}, "headers"),
        ({"target": "/", "more": 1}, "more"),
    ):
        refused = await explain(gateway, body)
        assert (refused.status, refused.code, refused.json()["errors"][0]["field"]) == (
            422,
            "validation_failed",
            field,
        )
    assert (await explain(gateway, {"target": "/"}, **{"Content-Type": "text/plain"})).status == 415
    sent = {"Content-Type": "application/json", **bearer(ADMIN)}
    assert (await gateway.request("POST", EXPLAIN, sent, b"{")).status == 400
    assert (await gateway.request("POST", EXPLAIN, sent, b" " * 70_000)).status == 413


async def test_every_admin_who_watches_is_recorded_once_an_hour(
    gateway: RunningGateway, audit: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = {"User-Agent": "console", "X-Request-ID": "first"}
    for path in ("/gateway/status", "/gateway/errors"):
        assert (await gateway.request("GET", path, {**bearer(ADMIN), **sent})).status == 200
    await sent_whole(audit, 2)  # the first attempt failed
    first, again = audit.received
    assert first.body == again.body
    assert (again.method, again.target) == ("POST", "/internal/events")
    (event,) = json.loads(again.body)["events"]
    assert (event["topic"], event["source"]) == ("action.recorded", "gateway")
    told = {
        key: event["data"][key] for key in ("user_id", "action", "service", "request_id", "user_agent", "ip")
    }
    assert told == {
        "user_id": "a-1",
        "action": "WATCH_GATEWAY",
        "service": "gateway",
        "request_id": "first",
        "user_agent": "console",
        "ip": "127.0.0.1",
    }
    await gateway.request("GET", "/gateway/status", bearer(token("a-2", role="admin")))
    await sent_whole(audit, 3)
    monkeypatch.setattr("gateway.site.admin.records.HOUR_SECONDS", 0.0)
    await show(gateway, "/gateway/status")
    await sent_whole(audit, 4)


async def test_many_who_watch_cost_as_much_as_one(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    brief = Inside.brief

    def counted(inside: Inside) -> dict[str, Any]:
        asked.append(inside)
        return brief(inside)

    monkeypatch.setattr(Inside, "brief", counted)
    await asyncio.gather(*(show(gateway, "/gateway/targets") for _ in range(10)))
    assert len(asked) == 1


async def test_envelope_is_kept(gateway: RunningGateway) -> None:
    answer = await gateway.request("GET", "/api/v1/gateway/status", bearer(ADMIN))
    assert answer.json()["data"]["routes"] == 3


def test_schemas_of_the_document_are_complete() -> None:
    found = admin_schemas()
    assert {"Status", "RoutesShown", "TargetShown", "RouteLimits", "ErrorShown", "Explanation"} <= set(found)
    assert found["ExplainRequest"]["required"] == ["target"]
    assert found["ExplainRequest"]["additionalProperties"] is False
