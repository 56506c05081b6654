"""Tracing: who is sampled, what enters the SDK, what a span says, and a collector that does not respond."""

import asyncio
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest
from sqlalchemy import text
from sqlmodel import Session
from starlette.types import Receive, Scope, Send

from shared.data import traced
from shared.data.database import Database, execute_in_driver
from shared.events.event import EVENT_BYTES_MAX, Event, Sealed
from shared.peers.client import HttpClient
from shared.process.observe import Observe
from shared.tracing import spans
from shared.tracing.context import SAMPLERS, Sampler
from shared.tracing.sdk import SdkTracer
from shared.tracing.setup import faults, tracing
from tests.collector import collecting
from tests.support import free_port

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = f"00-{TRACE}-00f067aa0ba902b7-01".encode()
UNSAMPLED = SAMPLED[:-1] + b"0"
SECRET = "vT8wKzR4mYd9Lh3cNf6BgJp5sXa7Q2x1"
ON = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


class Happened(Event):
    """A thing happened."""

    topic = "thing.happened"
    key = "id"

    id: str
    note: str = ""


class NeverBegins:
    """Stands in for the SDK, which nothing may enter."""

    def begin(self, *_: Any, **__: Any) -> NoReturn:
        raise AssertionError("the SDK was entered")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def outside_sdk() -> Iterator[None]:
    before, spans.SWITCH.tracing = spans.SWITCH.tracing, spans.Tracing(NeverBegins(), Sampler.of({}, SECRET))
    yield
    spans.SWITCH.tracing = before


def ratio_of(ratio: float, secret: str = SECRET) -> Sampler:
    settings = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": repr(ratio)}
    return Sampler.of(settings, secret)


class TestSampling:
    @pytest.mark.parametrize("ids", ["lower half of zeros", "random"])
    def test_share_is_sampled_whatever_trace_ids_callers_choose(self, ids: str) -> None:
        chosen = random.Random(7)
        for ratio, least, most in ((0.0, 0, 0), (0.01, 1, 40), (0.5, 400, 600), (1.0, 1000, 1000)):
            sampler, other = ratio_of(ratio), ratio_of(ratio)
            taken = 0
            for number in range(1, 1001):
                trace_id = number << 64 if ids == "lower half of zeros" else chosen.getrandbits(128)
                context, is_sampled = sampler.decide(b"00-%032x-00f067aa0ba902b7-01" % trace_id)
                taken += is_sampled
                assert context[-2:] == (b"01" if is_sampled else b"00")
                assert other.decide(context) == (context, is_sampled), "a process behind it decides otherwise"
            assert least <= taken <= most

    def test_processes_behind_the_gateway_decide_like_it_for_a_new_trace(self) -> None:
        gateway, service = ratio_of(0.5), ratio_of(0.5)
        decided = [gateway.decide(None) for _ in range(100)]

        assert {is_sampled for _, is_sampled in decided} == {True, False}
        assert [service.decide(context) for context, _ in decided] == decided

    def test_clients_cannot_compute_what_is_sampled(self) -> None:
        contexts = [b"00-%032x-00f067aa0ba902b7-00" % number for number in range(1, 101)]
        ours, theirs = ratio_of(0.5), ratio_of(0.5, "a guess")

        assert [ours.decide(one) for one in contexts] != [theirs.decide(one) for one in contexts]

    @pytest.mark.parametrize(
        ("name", "caller_sampled", "caller_not", "nobody"),
        [
            ("always_on", True, True, True),
            ("always_off", False, False, False),
            ("parentbased_always_on", True, False, True),
            ("parentbased_always_off", True, False, False),
        ],
    )
    def test_caller_decides_for_samplers_based_on_the_parent(
        self, name: str, caller_sampled: bool, caller_not: bool, nobody: bool
    ) -> None:
        sampler = Sampler.of({"OTEL_TRACES_SAMPLER": name}, SECRET)
        decisions = [sampler.decide(given) for given in (SAMPLED, UNSAMPLED, None, b"00-nonsense")]

        assert [one for _, one in decisions] == [caller_sampled, caller_not, nobody, nobody]
        assert all(context[-2:] == (b"01" if is_in else b"00") for context, is_in in decisions)
        assert {context[:52] for context, _ in decisions[:2]} == {SAMPLED[:52]}

    def test_bad_settings_are_reported_with_a_sentence_each(self) -> None:
        bad = ON | {
            "OTEL_TRACES_SAMPLER": "sometimes",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "collector:4318",
        }
        assert [one.partition(":")[0] for one in faults(bad)] == [
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "OTEL_TRACES_SAMPLER",
        ]
        ratio = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}
        assert faults(ON | ratio) == ["OTEL_TRACES_SAMPLER_ARG: must be a number from 0 to 1"]
        assert faults({"OTEL_TRACES_EXPORTER": "zipkin"}) == ["OTEL_TRACES_EXPORTER: must be otlp or none"]
        assert all(faults(ON | {"OTEL_TRACES_SAMPLER": name}) == [] for name in SAMPLERS)
        assert faults(bad | {"OTEL_SDK_DISABLED": "true"}) == []

    def test_missing_extra_is_reported_with_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("shared.tracing.setup.PACKAGE", "opentelemetry.exporter.missing.http")

        assert faults({}) == []
        (sentence,) = faults(ON)
        assert "gatehouse[tracing]" in sentence


def scope_of(headers: list[tuple[bytes, bytes]], path: str = "/things") -> Scope:
    return {"type": "http", "method": "GET", "path": path, "headers": headers, "query_string": b"secret=1"}


async def call(headers: list[tuple[bytes, bytes]], path: str = "/things", work: Any = None) -> None:
    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if work is not None:
            await work()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def drop(_message: Any) -> None: ...

    async def nothing() -> Any: ...

    await asyncio.create_task(Observe(app)(scope_of(headers, path), nothing, drop))


class TestUnsampled:
    async def test_unsampled_request_never_enters_the_sdk(
        self, outside_sdk: None, database: Database
    ) -> None:
        seen: list[Any] = []

        async def work() -> None:
            seen.append(spans.header())
            await database.run(lambda session: session.connection().execute(text("SELECT 1")).all())
            await database.run(lambda session: execute_in_driver(session.connection(), "SELECT 1", ()))
            seen.append("trace" in json.loads(Sealed("notes", Happened(id="1")).body))

        await call([(b"traceparent", UNSAMPLED)], work=work)
        assert seen == [UNSAMPLED.decode(), False]
        with pytest.raises(AssertionError, match="entered"):
            await call([(b"traceparent", SAMPLED)])

    async def test_machines_that_poll_begin_no_traces(self, outside_sdk: None) -> None:
        await call([], "/health/ready")
        with pytest.raises(AssertionError, match="entered"):
            await call([])

    async def test_call_of_unsampled_request_tells_the_decision(self, outside_sdk: None) -> None:
        sent: list[str | None] = []

        def answer(request: httpx.Request) -> httpx.Response:
            sent.append(request.headers.get("traceparent"))
            return httpx.Response(200, json={})

        client = HttpClient()
        client._clients[False] = httpx.AsyncClient(transport=httpx.MockTransport(answer))
        await call([(b"traceparent", UNSAMPLED)], work=lambda: client.get_json("http://other/"))
        await client.get_json("http://other/")
        await client.close()

        assert sent == [UNSAMPLED.decode(), None]


class TestSampled:
    async def test_statements_are_children_of_their_transaction_without_values(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(traced, "STATEMENTS_MAX", 3)

        def work(session: Session) -> None:
            session.connection().execute(text("SELECT :x AS found, 'quoted'"), {"x": "bound-value"})
            for _ in range(4):
                execute_in_driver(session.connection(), "SELECT 'quoted' AS x", ())

        with collecting() as (collector, url):
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
            async with tracing("notes", SECRET):
                await call([(b"traceparent", SAMPLED)], work=lambda: database.run(work))
            (server,) = [one for one in collector.spans if one.kind == "server"]
            (transaction,) = [one for one in collector.spans if one.name == "transaction"]
            statements = [one for one in collector.spans if one.kind == "client"]

        assert (server.trace_id, server.parent_id) == (TRACE, "00f067aa0ba902b7")
        assert server.resource["service.name"] == "notes"
        assert transaction.parent_id == server.span_id
        assert {one.parent_id for one in statements} == {transaction.span_id}
        assert len(statements) == 3
        assert transaction.values["gatehouse.statements"] == 5
        assert all(a.start <= b.start <= b.end <= a.end for a, b in [(server, transaction)])
        told = str(collector.spans)
        assert "quoted" not in told
        assert "bound-value" not in told
        assert "secret" not in told

    def test_long_statement_is_neither_kept_in_memory_nor_read_to_its_end(self) -> None:
        before = traced._remembered.cache_info().currsize
        longs = [f"SELECT x FROM t{number} WHERE y IN ('{'secret' * 200_000}')" for number in range(50)]
        began = time.process_time()
        found = [traced._described(one) for one in longs]
        seconds = time.process_time() - began

        names = [(f"SELECT t{number}", "SELECT") for number in range(50)]
        assert [one[:2] for one in found if one is not None] == names
        assert not any("secret" in one[2] for one in found if one is not None)
        assert traced._remembered.cache_info().currsize == before
        assert seconds < 1, "reading all of these takes seconds"

    async def test_key_of_the_collector_may_be_in_a_file(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        file = tmp_path / "headers"
        file.write_text("api-key=of%20the=collector,x-team=blue\n")
        with collecting() as (collector, url):
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=other,x-place=here")
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS_FILE", str(file))
            async with tracing("notes", SECRET):
                await call([(b"traceparent", SAMPLED)])

        sent = {"api-key": "of the=collector", "x-team": "blue", "x-place": "here"}
        assert collector.headers.items() >= sent.items()
        missing = ON | {"OTEL_EXPORTER_OTLP_HEADERS_FILE": str(tmp_path / "none")}
        (sentence,) = faults(missing)
        assert sentence.startswith("OTEL_EXPORTER_OTLP_HEADERS_FILE: cannot be read: ")

    async def test_event_carries_its_trace_only_if_it_has_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        bodies: list[str] = []
        room = EVENT_BYTES_MAX - len(Sealed("notes", Happened(id="1")).body)

        async def publish() -> None:
            bodies.extend(Sealed("notes", Happened(id="1", note="x" * size)).body for size in (0, room - 60))

        with collecting() as (collector, url):
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
            async with tracing("notes", SECRET):
                await call([(b"traceparent", SAMPLED)], work=publish)
            first, _ = [one.span_id for one in collector.spans if one.kind == "producer"]

        small, large = [json.loads(body) for body in bodies]
        assert small["trace"].split("-")[1:3] == [TRACE, first]
        assert "trace" not in large
        assert len(bodies[1]) <= EVENT_BYTES_MAX

    async def test_dead_collector_costs_one_warning(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5")
        async with tracing("notes", SECRET):
            for _ in range(50):
                await call([(b"traceparent", SAMPLED)])
            tracer = spans.SWITCH.tracing
            assert tracer is not None
            assert isinstance(tracer.tracer, SdkTracer)
            while "traces_not_exported" not in (told := capsys.readouterr().out):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

        rest = told + capsys.readouterr().out
        assert rest.count("traces_not_exported") == 1
        assert "Traceback" not in rest
