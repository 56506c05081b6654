"""The admin listener: the state that it shows, the commands that it accepts, and whom it refuses."""

import asyncio
import signal
import socket
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from gateway.telemetry import metrics
from tests.gateway.backends import Backend, Conversation
from tests.gateway.conftest import Start, StartBackend
from tests.gateway.support import RunningGateway
from tests.support import free_port


@pytest.fixture
async def gateway(start_gateway: Start, backend: Backend) -> RunningGateway:
    metrics.RECENT.clear()
    return await start_gateway(
        f"""
routes:
  - {{path: /open, backend: "{backend.url}", auth: none, methods: [GET]}}
  - {{path: /orders, backend: "{backend.url}", roles: [admin]}}
""",
        admin_port=free_port(),
    )


async def ask(gateway: RunningGateway, path: str, method: str = "GET", **headers: str) -> tuple[int, Any]:
    url = f"http://127.0.0.1:{gateway.settings.admin_port}{path}"
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.request(method, url, headers=headers)
    is_json = "json" in answer.headers["content-type"]
    return answer.status_code, answer.json() if is_json else answer.text


async def test_routes_are_shown_with_their_policy(gateway: RunningGateway, backend: Backend) -> None:
    status, table = await ask(gateway, "/routes")
    assert status == 200
    assert table["version"] == gateway.state.table.digest[:12]
    opened, orders = table["routes"]
    assert (opened["path"], opened["policy"]["auth"], opened["policy"]["methods"]) == (
        "/open",
        "none",
        ["GET"],
    )
    assert orders["policy"]["roles"] == ["admin"]
    assert orders["upstream"]["shares"][0]["target"]["origin"] == backend.url


async def test_current_limits_are_shown(start_gateway: Start, backend: Backend) -> None:
    limits = "concurrency: {max: 5, key: ip}, rate_limit: [{rate: 9/m, key: ip}, {rate: 5/s, key: route}]"
    gateway = await start_gateway(
        f"routes: [{{path: /x, backend: '{backend.url}', auth: none, {limits}}}]", admin_port=free_port()
    )
    await gateway.request("GET", "/x")
    _, (worker,) = await ask(gateway, "/limits")
    assert (worker["limits"]["counted"], worker["limits"]["gateways"]) == ("by each process", 1)
    assert worker["limits"]["routes"]["x"] == {
        "rate_limits": {'"x.ip";q=1;w=7': 1, '"x.route";q=5;w=1': 1},
        "under_way": 0,
    }


async def test_current_state_of_targets_is_shown(gateway: RunningGateway, backend: Backend) -> None:
    await gateway.request("GET", "/open")
    _, (worker,) = await ask(gateway, "/targets")
    (target,) = worker["targets"]
    assert (target["url"], target["routes"]) == (backend.url, ["open", "orders"])
    assert (target["healthy"], target["connections"], target["load"]) == (True, 1, 0)


async def test_a_bounded_number_of_errors_is_shown_newest_first(gateway: RunningGateway) -> None:
    await gateway.request("DELETE", "/open", {"X-Request-ID": "first"})
    answer = await gateway.request("GET", "/orders?secret=1", {"Authorization": "Bearer secret"})
    _, errors = await ask(gateway, "/errors")
    assert [(error["status"], error["code"], error["source"], error["phase"]) for error in errors] == [
        (401, "invalid_token", "client", "auth"),
        (405, "method_not_allowed", "client", "route"),
    ]
    assert [error["route"] for error in errors] == ["orders", "open"]
    assert [error["request_id"] for error in errors] == [answer.value("x-request-id"), "first"]
    assert "secret" not in str(errors)
    for _ in range(metrics.ERRORS_KEPT_MAX + 5):
        assert (await gateway.request("GET", "/orders")).status == 401
    assert len((await ask(gateway, "/errors"))[1]) == metrics.ERRORS_KEPT_MAX


async def test_failures_of_a_service_are_shown(start_gateway: Start, start_backend: StartBackend) -> None:
    async def fails(conversation: Conversation) -> None:
        while await conversation.request():
            await conversation.answer(b"", "500 Sorry")

    backend = await start_backend(fails)
    metrics.RECENT.clear()
    gateway = await start_gateway(
        f"routes: [{{path: /a, backend: '{backend.url}', auth: none}}]", admin_port=free_port()
    )
    assert (await gateway.request("GET", "/a")).status == 500
    _, (error,) = await ask(gateway, "/errors")
    assert (error["status"], error["code"], error["source"]) == (500, "upstream_status", "upstream")


async def test_post_reload_reads_the_file(gateway: RunningGateway) -> None:
    gateway.write("routes: []")
    status, (outcome,) = await ask(gateway, "/reload", "POST")
    assert (status, outcome["success"], outcome["changed"]) == (200, True, True)
    assert (await gateway.request("GET", "/open")).status == 404
    gateway.write("routes:\n  - {path: a, backend: b}")
    status, (outcome,) = await ask(gateway, "/reload", "POST")
    assert status == 422
    assert [":2:12 " in outcome["faults"][0], ":2:24 " in outcome["faults"][1]] == [True, True]
    _, (shown,) = await ask(gateway, "/reload")
    assert (shown["success"], shown["faults"]) == (False, outcome["faults"])


async def test_health_and_metrics_are_served(gateway: RunningGateway) -> None:
    assert (await ask(gateway, "/health/live"))[0] == 200
    status, ready = await ask(gateway, "/health/ready")
    assert (status, ready["status"], len(ready["workers"])) == (200, "healthy", 1)
    assert "gateway_config_reload_success" in (await ask(gateway, "/metrics"))[1]
    assert "GET /routes" in (await ask(gateway, "/"))[1]["pages"]


async def test_drain_is_announced_before_it_begins(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = asyncio.get_running_loop().create_future()
    monkeypatch.setattr("os.kill", lambda *what: told.set_result(what))
    status, answer = await ask(gateway, "/drain?notice=0.2", "POST")
    assert (status, answer["notice_seconds"]) == (202, 0.2)
    assert (await ask(gateway, "/health/ready"))[0] == 503
    assert (await gateway.request("GET", "/health/ready")).status == 503
    assert (await gateway.request("GET", "/open")).status == 200, "everything is served meanwhile"
    _, number = await asyncio.wait_for(told, 10)
    assert number == signal.SIGTERM


@pytest.mark.parametrize("notice", ["x", "-1", "nan", "301", ""])
async def test_drain_with_an_invalid_notice_is_refused(gateway: RunningGateway, notice: str) -> None:
    assert (await ask(gateway, f"/drain?notice={notice}", "POST"))[0] == 400
    assert (await gateway.request("GET", "/health/ready")).status == 200


@pytest.mark.parametrize(
    "headers",
    [{"origin": "http://127.0.0.1:8000"}, {"host": "rebound.example"}, {"host": "rebound.example:8010"}],
)
@pytest.mark.parametrize(("path", "method"), [("/drain", "POST"), ("/routes", "GET"), ("/errors", "GET")])
async def test_requests_from_web_pages_are_refused(
    gateway: RunningGateway, path: str, method: str, headers: dict[str, str]
) -> None:
    assert (await ask(gateway, path, method, **headers))[0] == 403
    assert gateway.state.is_ready


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8010"])
async def test_requests_by_ip_address_are_accepted(gateway: RunningGateway, host: str) -> None:
    assert (await ask(gateway, "/routes", host=host))[0] == 200


async def test_wrong_methods_are_refused_with_405(gateway: RunningGateway) -> None:
    assert (await ask(gateway, "/drain"))[0] == 405
    assert (await ask(gateway, "/routes", "POST"))[0] == 405


async def test_admin_pages_are_not_on_the_public_port(gateway: RunningGateway) -> None:
    for path in ("/routes", "/targets", "/errors", "/reload"):
        assert (await gateway.request("GET", path)).status == 404
    assert (await gateway.request("POST", "/drain")).status == 404


async def test_gateway_runs_without_admin_pages_if_their_port_is_taken(
    start_gateway: Start, backend: Backend
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, capture_logs() as lines:
        gateway = await start_gateway(
            f"routes: [{{path: /a, backend: '{backend.url}', auth: none}}]", admin_port=other.getsockname()[1]
        )
        assert (await gateway.request("GET", "/a")).status == 200
    assert [line["log_level"] for line in lines if line["event"] == "admin_port_taken"] == ["warning"]
