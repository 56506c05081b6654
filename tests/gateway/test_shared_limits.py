"""Rate limits that several gateways share through a real Redis, and what applies while it is down."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.policies.rate_limit_store import MISSES_MAX, Ask, LimitStore
from gateway.policies.rate_limits import _digest
from shared.ids import new_id
from shared.testing import TEST_JWT_SECRET, bearer, token
from tests.gateway.backends import Backend
from tests.gateway.conftest import Start
from tests.gateway.support import RunningGateway, Wire, eventually
from tests.gateway.test_drain import connect, gateway_process
from tests.support import RedisServer, free_port, need, redis_server

SECOND = 1_000_000
HOUR = 3600 * SECOND
CLIENTS = 16
GATEWAYS = 2
# Long enough that Redis does not look unavailable on a busy machine.
PATIENCE = 5.0


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def mortal() -> Iterator[RedisServer]:
    """A server that the test may kill."""
    with redis_server() as server:
        yield server


@asynccontextmanager
async def stores(url: str, number: int) -> AsyncIterator[list[LimitStore]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(LimitStore(url, PATIENCE)) for _ in range(number)]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 12), min_size=1, max_size=3), st.integers(1, 40), st.integers(1, 3))
async def test_exactly_the_burst_passes_however_many_requests_are_concurrent(
    server: RedisServer, bursts: list[int], requests: int, gateways: int
) -> None:
    """With several limits, the smallest burst passes; refused requests count against none of them."""
    name = new_id()
    asks = [Ask(f"{{{name}}}:{place}", HOUR, burst * HOUR) for place, burst in enumerate(bursts)]
    async with stores(server.url, gateways) as found:
        answers = await asyncio.gather(*(found[each % gateways].take(asks) for each in range(requests)))
        passed = [each for each in answers if each is not None and not any(one.wait for one in each)]
        assert len(passed) == min(requests, *bursts)
        for ask, burst in zip(asks, bursts, strict=True):
            left = [await found[0].take([ask]) for _ in range(burst - len(passed) + 1)]
            assert [bool(each and each[0].wait) for each in left] == [False] * (burst - len(passed)) + [True]


async def test_bucket_refills_by_the_clock_of_redis_and_its_key_expires(server: RedisServer) -> None:
    ask = Ask(f"{{{new_id()}}}", 20_000, 40_000)
    async with stores(server.url, 1) as (store,):
        began, passed = time.monotonic(), 0
        while passed < 12:
            answer = await store.take([ask])
            assert answer is not None
            passed += not answer[0].wait
            assert answer[0].ahead <= 0.04
            await asyncio.sleep(answer[0].wait)  # as the verdict says
        assert time.monotonic() - began >= 10 * 0.02
        redis = store._redis
        slow = Ask(f"{{{new_id()}}}", HOUR, HOUR)
        assert await store.take([slow])
        assert 3_500_000 < await redis.pttl(slow.key) <= 3_600_001
        await redis.set(ask.key, str(10**18))  # as if the clock had been far ahead
        answer = await store.take([ask])
        assert answer is not None
        assert answer[0].wait <= 0.04


async def test_two_gateways_share_one_limit(
    start_gateway: Start, backend: Backend, server: RedisServer, tmp_path: Path
) -> None:
    name = new_id()
    route = f"{{path: /x, name: '{name}', backend: '{backend.url}', rate_limit: [{{rate: 1/h, burst: 6}},"
    gateways = []
    for number in range(GATEWAYS):
        (tmp_path / str(number)).mkdir()
        gateway = await start_gateway(
            f"routes: [{route} {{rate: 4/h, burst: 4, key: ip, store: local}}]}}]",
            redis_url=server.url,
            limit_store_seconds=PATIENCE,
        )
        gateways.append(gateway)
    who = bearer(token("one"))
    answers = [await gateways[each % 2].request("GET", "/x", who) for each in range(8)]
    assert [answer.status for answer in answers] == [200] * 6 + [429] * 2
    told = (answers[1].value("ratelimit") or "").split(", ")
    assert [part.partition(";t=")[0] for part in told] == [f'"{name}.user";r=4', f'"{name}.ip";r=3']
    assert 3590 <= int(answers[7].value("retry-after") or 0) <= 3600
    assert answers[7].code == "rate_limited"
    answers = [await gateways[0].request("GET", "/x", bearer(token("two"))) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 429], "each gateway has its own four per address"
    states = [gateway.state.limit_store for gateway in gateways]
    assert [state is not None and state.gateways for state in states] == [2, 2] or await _all_known(gateways)


async def _all_known(gateways: list[RunningGateway]) -> bool:
    await eventually(lambda: all(each.state.limit_store.gateways == GATEWAYS for each in gateways))  # type: ignore[union-attr]
    return True


async def test_store_closes_even_if_its_client_swallows_a_cancellation(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, written = asyncio.Event(), asyncio.Event()

    async def write_like_redis() -> None:
        writing.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if written.is_set():
                raise
            written.set()

    async with asyncio.timeout(PATIENCE) as patience:
        async with LimitStore(server.url, PATIENCE) as store:
            monkeypatch.setattr(store, "_beat", write_like_redis)
            await writing.wait()
    assert written.is_set()
    assert not patience.expired()


async def test_user_ids_are_not_stored_in_redis(
    start_gateway: Start, backend: Backend, server: RedisServer
) -> None:
    gateway = await start_gateway(
        f"routes: [{{path: /secretive, backend: '{backend.url}', rate_limit: {{rate: 7/h, burst: 7}}}}]",
        redis_url=server.url,
        limit_store_seconds=PATIENCE,
    )
    who = "a-person@example.com"
    assert (await gateway.request("GET", "/secretive", bearer(token(who)))).status == 200
    store = gateway.state.limit_store
    assert store is not None
    keys = [key.decode() async for key in store._redis.scan_iter("gatehouse:limit:{secretive}*")]
    assert keys == ["gatehouse:limit:{secretive}:7/3600s:7:user:" + _digest(f"user {who}")]


async def test_without_redis_each_gateway_enforces_its_share_and_logs_it_once(
    start_gateway: Start, backend: Backend, mortal: RedisServer
) -> None:
    name = new_id()
    limit = "rate_limit: {rate: 1/h, burst: 8}"
    routes = f"routes: [{{path: /x, name: '{name}', backend: '{backend.url}', {limit}}}]"
    gateways = [
        await start_gateway(routes, redis_url=mortal.url, limit_store_seconds=PATIENCE)
        for _ in range(GATEWAYS)
    ]
    await _all_known(gateways)
    one, two = bearer(token("one")), bearer(token("two"))
    assert [(await gateways[0].request("GET", "/x", one)).status for _ in range(8)] == [200] * 8
    with capture_logs() as logs:
        mortal.kill()
        # The second gateway does not know that this caller has used up everything, and allows its share.
        answers = [(await gateways[1].request("GET", "/x", one)).status for _ in range(8)]
        assert answers == [200] * 4 + [429] * 4
        assert (await gateways[0].request("GET", "/x", one)).status == 429, "the first gateway does know"
        found = [(await gateways[each % 2].request("GET", "/x", two)).status for each in range(12)]
        assert Counter(found) == {200: 8, 429: 4}
        for gateway in gateways:
            answer = await gateway.request("GET", "/health/ready")
            assert (answer.status, answer.json()["checks"]["limits"]) == (200, "by share")
        assert b"\ngateway_limit_store_up 0.0\n" in (await gateways[0].request("GET", "/metrics")).body
    told = [line for line in logs if line["event"].startswith("limit_store")]
    assert [(line["event"], line["log_level"]) for line in told] == [("limit_store_down", "warning")] * 2

    mortal.start()
    await eventually(lambda: all(each.state.limit_store.is_up for each in gateways))  # type: ignore[union-attr]
    found = [
        (await gateways[each % 2].request("GET", "/x", bearer(token("three")))).status for each in range(10)
    ]
    assert found == [200] * 8 + [429] * 2
    answer = await gateways[0].request("GET", "/health/ready")
    assert answer.json()["checks"]["limits"] == "shared"


async def test_hanging_redis_delays_only_the_first_requests(
    start_gateway: Start, backend: Backend, mortal: RedisServer
) -> None:
    routes = f"routes: [{{path: /x, backend: '{backend.url}', rate_limit: {{rate: 1/h, burst: 50}}}}]"
    gateway = await start_gateway(routes, redis_url=mortal.url)
    store = gateway.state.limit_store
    assert store is not None
    who = bearer(token("one"))
    mortal.send(signal.SIGSTOP)
    statuses = await asyncio.gather(*(gateway.request("GET", "/x", who) for _ in range(CLIENTS)))
    assert {answer.status for answer in statuses} == {200}
    assert not store.is_up
    assert not gateway.state.routing.limits["x"].is_shared, "from here on no request waits"
    mortal.send(signal.SIGCONT)
    await eventually(lambda: store.is_up)
    assert (await gateway.request("GET", "/x", who)).status == 200


async def test_redis_that_always_responds_too_late_is_considered_down(mortal: RedisServer) -> None:
    """The requests are sent one at a time; concurrent ones would all wait in vain."""
    async with LimitStore(mortal.url) as store:
        await eventually(lambda: store.is_up)
        for _ in range(MISSES_MAX):
            assert store.is_up
            mortal.send(signal.SIGSTOP)
            assert await store.take([Ask(new_id(), HOUR, HOUR)]) is None
            is_up = store.is_up
            mortal.send(signal.SIGCONT)
            serving = store._serving
            assert serving is not None
            await serving  # the response has arrived by now
        assert not is_up


async def test_gateway_started_without_redis_shares_limits_once_it_is_up(
    start_gateway: Start, backend: Backend, mortal: RedisServer
) -> None:
    mortal.kill()
    routes = f"routes: [{{path: /x, backend: '{backend.url}', rate_limit: {{rate: 1/h, burst: 2}}}}]"
    gateway = await start_gateway(routes, redis_url=mortal.url)
    who = bearer(token("one"))
    assert [(await gateway.request("GET", "/x", who)).status for _ in range(3)] == [200, 200, 429]
    mortal.start()
    store = gateway.state.limit_store
    assert store is not None
    await eventually(lambda: store.is_up)
    assert gateway.state.routing.limits["x"].is_shared


BURST, PER_SECOND = 40, 20
LOAD_SECONDS = 6.0


@pytest.mark.prove
async def test_processes_never_exceed_the_bound_while_redis_is_killed_and_restarted(
    backend: Backend, mortal: RedisServer, tmp_path: Path
) -> None:
    """The documented bound: burst + rate * time, plus one burst each time Redis goes down or comes up."""
    passed: list[float] = []
    other: Counter[int] = Counter()
    ended = asyncio.Event()

    async def client(wire: Wire) -> None:
        while not ended.is_set():
            status = (await wire.request("GET", "/open", bearer(who))).status
            if status == 200:
                passed.append(time.monotonic())
            else:
                other[status] += 1
            await asyncio.sleep(0.005)

    who = token("one")
    async with AsyncExitStack() as stack:
        ports = []
        for number in range(GATEWAYS):
            (tmp_path / str(number)).mkdir()
            process = gateway_process(
                backend,
                tmp_path / str(number),
                REDIS_URL=mortal.url,
                LIMIT_STORE_SECONDS=str(PATIENCE),
                JWT_SECRET=TEST_JWT_SECRET,
                ROUTES_FILE=str(_shared_routes(tmp_path, backend)),
            )
            ports.append((await stack.enter_async_context(process))[1])
        wires = [await connect(ports[each % GATEWAYS]) for each in range(CLIENTS)]
        began = time.monotonic()
        clients = [asyncio.create_task(client(wire)) for wire in wires]
        changes = []
        for change in (mortal.kill, mortal.start):
            await asyncio.sleep(LOAD_SECONDS / 3)
            changes.append(time.monotonic())
            change()
        await asyncio.sleep(LOAD_SECONDS / 3)
        ended.set()
        await asyncio.gather(*clients)
        lasted = time.monotonic() - began
        for wire in wires:
            await wire.close()

    assert set(other) == {429}, other
    steady = [at for at in passed if at < changes[0]]
    assert len(steady) <= BURST + PER_SECOND * (changes[0] - began) + 1
    assert len(steady) >= BURST, "the whole burst is available while Redis is up"
    assert len(passed) <= 3 * BURST + PER_SECOND * lasted + 1
    assert [at for at in passed if changes[0] + 0.5 < at < changes[1]], "some requests pass without Redis"


def _shared_routes(folder: Path, backend: Backend) -> Path:
    limit = f"{{rate: {PER_SECOND}/s, burst: {BURST}, key: user}}"
    file = folder / "shared.yaml"
    file.write_text(f"routes: [{{path: /open, backend: '{backend.url}', rate_limit: {limit}}}]")
    return file


async def test_store_finds_its_master_through_sentinel(server: RedisServer, tmp_path: Path) -> None:
    (program,) = need("redis-server")
    port, master = free_port(), server.url.rpartition("/")[0].rpartition(":")[2]
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\nsentinel monitor mymaster 127.0.0.1 {master} 1\n"
    )
    sentinel = await asyncio.create_subprocess_exec(
        program, str(configuration), "--sentinel", stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with stores(f"redis+sentinel://127.0.0.1:{port}/mymaster/0", 1) as (store,):
            await eventually(lambda: store.is_up)
            ask = Ask(f"{{{new_id()}}}", HOUR, 2 * HOUR)
            found = [await store.take([ask]) for _ in range(3)]
            assert [bool(each and each[0].wait) for each in found] == [False, False, True]
    finally:
        sentinel.kill()
        await sentinel.wait()
