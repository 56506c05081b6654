"""The gateway's own pages, its access log and its metrics."""

import asyncio
import json
import re

import pytest
from pydantic import SecretStr, ValidationError
from structlog.testing import capture_logs

from gateway.settings import Settings
from shared.testing import bearer, token
from tests.gateway.backends import Backend, Conversation
from tests.gateway.conftest import Start, StartBackend
from tests.gateway.support import RunningGateway


async def test_root_names_version_and_docs(gateway: RunningGateway) -> None:
    answer = await gateway.request("GET", "/")
    assert set(answer.json()) == {"name", "version", "docs"}
    assert answer.value("x-request-id")


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


async def test_browsers_get_a_start_page_and_programs_get_json(gateway: RunningGateway) -> None:
    page = await gateway.request("GET", "/", headers={"Accept": BROWSER})
    assert (page.status, page.value("content-type")) == (200, "text/html; charset=utf-8")
    for address in ("/console", "/docs", "/health"):
        assert f'href="{address}"' in page.body.decode()
    assert "script-src 'self'" in (page.value("content-security-policy") or "")
    assert "Accept" in page.values("vary")
    (style,) = re.findall(r'href="(/console/[^"]+\.css)"', page.body.decode())
    assert (await gateway.request("GET", style)).status == 200
    for accept in (
        "*/*",
        "application/json",
        "application/json, text/html;q=0.5",
        "text/html;q=0",
        "text/html;q=x",
    ):
        answer = await gateway.request("GET", "/", headers={"Accept": accept})
        assert answer.value("content-type") == "application/json", accept
        assert "Accept" in answer.values("vary")


async def test_aliases_lead_to_no_pages(start_gateway: Start, start_backend: StartBackend) -> None:
    backend = await start_backend()
    gateway = await start_gateway(f"""
routes: [{{path: /cats, backend: "{backend.url}"}}]
aliases: [{{path: /api/v1, to: /, envelope: v1}}]
""")
    for path, status in (("/api/v1/", 200), ("/api/v1/nothing", 404), ("/api/v1/console", 404)):
        answer = await gateway.request("GET", path, headers={"Accept": BROWSER})
        assert (answer.status, "json" in (answer.value("content-type") or "")) == (status, True), path


async def test_browsers_get_an_error_page_that_shows_the_path_as_text(gateway: RunningGateway) -> None:
    path = "/no<script>alert(1)</script>"
    page = await gateway.request(
        "GET", path.replace("<", "%3C").replace(">", "%3E"), headers={"Accept": BROWSER}
    )
    assert (page.status, page.value("content-type")) == (404, "text/html; charset=utf-8")
    assert page.value("cache-control") == "no-store"
    assert (page.value("x-request-id") or "?") in page.body.decode()
    assert "There is no page here" in page.body.decode()
    assert "<script>alert" not in page.body.decode()
    problem = await gateway.request("GET", "/no")
    assert (problem.status, problem.code) == (404, "not_found")


async def test_path_with_a_trailing_slash_gets_a_hint(gateway: RunningGateway) -> None:
    for path, hint in (("/healthy", False), ("/health/", True)):
        answer = await gateway.request("GET", path)
        assert answer.status == 404
        said = "This path does not exist; /docs lists all paths."
        assert answer.json()["detail"] == said + (" Remove the trailing slash." if hint else "")


async def test_health_pages_respond_while_the_gateway_runs(gateway: RunningGateway) -> None:
    assert (await gateway.request("GET", "/health/live")).json()["status"] == "healthy"
    assert (await gateway.request("GET", "/health/ready")).json()["checks"] == {
        "routes": 2,
        "revocations": "stale",  # no auth runs in this test
    }


async def test_health_lists_all_services(start_gateway: Start, start_backend: StartBackend) -> None:
    async def hangs(conversation: Conversation) -> None:
        await conversation.reader.read()

    good, hanging, gone = await start_backend(), await start_backend(hangs), await start_backend()
    await gone.__aexit__()
    gateway = await start_gateway(f"""
routes:
  - {{path: /good, backend: "{good.url}"}}
  - {{path: /good/again, backend: "{good.url}"}}
  - {{path: /hanging, backend: "{hanging.url}"}}
  - {{path: /gone, backend: "{gone.url}"}}
""")
    answers = await asyncio.gather(*(gateway.request("GET", "/health") for _ in range(5)))
    for answer in answers:
        body = answer.json()
        assert (answer.status, body["status"]) == (200, "degraded")
        told = {name: service["status"] for name, service in body["services"].items()}
        assert told == {"good": "healthy", "hanging": "unreachable", "gone": "unreachable"}
        assert 1900 <= body["services"]["hanging"]["ms"] < 4000
    assert [request.target for request in good.received] == ["/health"], "requested more than once"


async def test_every_request_writes_one_access_line(gateway: RunningGateway, backend: Backend) -> None:
    with capture_logs() as logs:
        answer = await gateway.request("POST", "/orders/7?secret=1", bearer(token("u-1")), b"12345")
        await gateway.request("GET", "/orders")
    first, second = [entry for entry in logs if entry["event"] == "request"]
    assert {
        key: first[key] for key in ("method", "path", "status", "user_id", "ip", "route", "attempts")
    } == {
        "method": "POST",
        "ip": "127.0.0.1",
        "path": "/orders/7",
        "status": 200,
        "user_id": "u-1",
        "route": "orders",
        "attempts": 1,
    }
    assert (first["bytes_in"], first["bytes_out"]) == (5, len(answer.body))
    assert first["request_id"] == answer.value("x-request-id") == backend.received[0].value("x-request-id")
    assert 0 < first["upstream_ms"] <= first["ms"]
    assert (second["status"], second["code"], second["source"], second["phase"]) == (
        401,
        "unauthenticated",
        "client",
        "auth",
    )


async def test_labels_of_metrics_come_from_the_table_only(gateway: RunningGateway) -> None:
    for target in ("/open/made-up-1", "/made-up-2", "/orders/made-up-3"):
        await gateway.request("GET", target)
    await gateway.request("PROPFIND", "/open/made-up-4")
    text = (await gateway.request("GET", "/metrics")).body.decode()
    assert "made-up" not in text
    assert 'http_requests_total{method="GET",route="open",status="200"}' in text
    assert 'http_requests_total{method="other",route="open",status="405"}' in text
    assert 'gateway_refusals_total{code="unauthenticated",phase="auth",route="orders"}' in text
    assert 'gateway_upstream_duration_seconds_count{route="open"}' in text


async def test_metrics_have_only_one_path(start_gateway: Start, backend: Backend) -> None:
    """A proxy that hides /metrics hides all of it."""
    routes = f"""
routes: [{{path: /open, backend: "{backend.url}"}}]
aliases: [{{path: /api, to: /}}, {{path: /api/v1, to: /, envelope: v1}}, {{path: /m, to: /metrics}}]
"""
    gateway = await start_gateway(routes)
    for target in (
        "/api/metrics",
        "/api/v1/metrics",
        "/m",
        "/m/targets",
        "/api/metrics/targets",
        "/metrics/",
        "/api/metrics/",
    ):
        assert (await gateway.request("GET", target)).status == 404
    assert (await gateway.request("GET", "/api/health/live")).status == 200


SPELLINGS = ("/metrics", "/%6detrics", "/metric%73", "//metrics", "/./metrics")


async def test_metrics_are_hidden_in_production_without_metrics_token(
    start_gateway: Start, backend: Backend
) -> None:
    gateway = await start_gateway(
        f"routes: [{{path: /open, backend: '{backend.url}'}}]", environment="production"
    )
    for target in SPELLINGS:
        assert (await gateway.request("GET", "/metrics/targets")).status == 404
        for headers in ({}, bearer(token(role="admin")), bearer("")):
            assert (await gateway.request("GET", target, headers)).status in (400, 404)


@pytest.mark.parametrize("environment", ["development", "production"])
async def test_metrics_are_shown_to_holders_of_the_token(
    start_gateway: Start, backend: Backend, environment: str
) -> None:
    secret = "5f1d7a84e0c9423b8f60a7d219ec3b55"
    gateway = await start_gateway(
        f"routes: [{{path: /open, backend: '{backend.url}'}}]", environment=environment, metrics_token=secret
    )
    for target in SPELLINGS:
        for headers in (
            {},
            bearer("x"),
            bearer(secret[:-1]),
            bearer(secret + "x"),
            {"Authorization": secret},
        ):
            assert (await gateway.request("GET", target, headers)).status in (400, 401, 404)
    assert (await gateway.request("GET", "/metrics/targets")).status == 401
    shown = await gateway.request("GET", "/metrics/targets", bearer(secret))
    (listed,) = json.loads(shown.body)
    assert listed == {"targets": [backend.url.removeprefix("http://")], "labels": {"service": "open"}}
    refused = await gateway.request("GET", "/metrics")
    assert (refused.status, refused.value("www-authenticate")) == (401, "Bearer")
    shown = await gateway.request("GET", "/metrics", bearer(secret))
    assert (shown.status, b"http_requests_total" in shown.body) == (200, True)


def test_weak_metrics_token_is_refused() -> None:
    with pytest.raises(ValidationError, match="metrics_token"):
        Settings(metrics_token=SecretStr("password" * 4))
