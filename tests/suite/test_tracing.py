"""A trace through the whole suite: gateway, service, database, event, and the service that receives it."""

import json
from collections.abc import Iterator

import httpx
import pytest

from shared.ids import new_id
from tests.collector import Collector, Received, collecting
from tests.suite.accounts import LAPTOP, PASSWORD, register
from tests.suite.conftest import Suite, running_suite

UNSAMPLED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


@pytest.fixture(scope="module")
def collector_and_suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Collector, Suite]]:
    with collecting() as (collector, url):
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "LOG_FORMAT": "json",
        }
        with running_suite(tmp_path_factory.mktemp("traced"), settings) as suite:
            yield collector, suite


def child_of(parent: Received, spans: list[Received], **wanted: str) -> Received | None:
    return next(
        (
            one
            for one in spans
            if one.parent_id == parent.span_id
            and all(getattr(one, name) == value for name, value in wanted.items())
        ),
        None,
    )


async def test_order_is_one_trace_from_the_gateway_to_what_receives_its_events(
    collector_and_suite: tuple[Collector, Suite],
) -> None:
    collector, suite = collector_and_suite
    request_id, secret = new_id(), new_id()
    async with suite.client() as client:
        person = await register(client)
        headers = person.headers | {"X-Request-ID": request_id}
        placed = await client.post(f"/orders?note={secret}", json=LAPTOP, headers=headers)
    assert placed.status_code == 201, placed.text

    def of_request(spans: list[Received]) -> Received | None:
        found = [one for one in spans if one.values.get("gatehouse.request_id") == request_id]
        return next((one for one in found if (one.service, one.kind) == ("gateway", "server")), None)

    root = collector.until(of_request)
    assert (root.parent_id, root.name) == ("", "POST /orders")
    attempt = collector.until(lambda spans: child_of(root, spans, service="gateway", kind="client"))
    service = collector.until(lambda spans: child_of(attempt, spans, service="orders", kind="server"))
    transaction = collector.until(lambda spans: child_of(service, spans, name="transaction"))
    collector.until(lambda spans: child_of(transaction, spans, kind="client"))
    published = collector.until(
        lambda spans: child_of(transaction, spans, name="publish action.recorded", kind="producer")
    )
    processed = collector.until(
        lambda spans: next((one for one in spans if published.span_id in one.links), None)
    )
    assert (processed.service, processed.kind, processed.parent_id) == ("audit", "consumer", "")
    assert processed.trace_id != root.trace_id
    collector.until(lambda spans: child_of(processed, spans, name="transaction"))

    of_trace = collector.of_trace(root.trace_id)
    told = str([(one.name, one.values) for one in of_trace])
    for hidden in (secret, person.email, PASSWORD, person.headers["Authorization"].split(".")[-1]):
        assert hidden not in told
    lines = [json.loads(line) for line in suite.lines if request_id in line and line.startswith("{")]
    logged = {line["service"]: line for line in lines if line["event"] == "request"}
    assert {line["trace_id"] for line in logged.values()} == {root.trace_id}
    assert logged["orders"]["span_id"] == service.span_id


def is_last(span: Received) -> bool:
    return bool(span.values.get("gatehouse.request_id") == "the-next-one")


async def test_unsampled_request_leaves_no_span_anywhere(
    collector_and_suite: tuple[Collector, Suite],
) -> None:
    collector, suite = collector_and_suite
    async with suite.client() as client:
        person = await register(client)
        refused = await client.get("/orders", headers={"traceparent": UNSAMPLED})
        listed = await client.get("/orders", headers=person.headers | {"traceparent": UNSAMPLED})
        after = await client.get("/orders", headers=person.headers | {"X-Request-ID": "the-next-one"})
    assert [one.status_code for one in (refused, listed, after)] == [401, 200, 200]

    collector.until(lambda spans: {"gateway", "orders"} <= {one.service for one in spans if is_last(one)})
    assert collector.of_trace(UNSAMPLED[3:35]) == []


async def test_refused_request_has_a_span_that_says_why(
    collector_and_suite: tuple[Collector, Suite],
) -> None:
    collector, suite = collector_and_suite
    async with httpx.AsyncClient(base_url=suite.url) as client:
        await client.get("/orders", headers={"X-Request-ID": "refused-one"})

    (span,) = collector.until(
        lambda spans: [one for one in spans if one.values.get("gatehouse.request_id") == "refused-one"]
    )
    assert (span.name, span.values["http.response.status_code"]) == ("GET /orders", 401)
    assert span.is_failed
    assert span.values["error.type"] == "unauthenticated"
