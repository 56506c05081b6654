"""How requests are balanced over several targets, and the limits of each target."""

import asyncio
import random
from collections import Counter
from math import sqrt
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from gateway.errors import Refusal
from gateway.routing.upstreams import Balance, Care, Ejection, HealthCheck, Origin, Share, Upstream
from gateway.routing.upstreams import Target as Address
from gateway.upstream.balancer import Group
from gateway.upstream.pool import Backend as Target
from shared.testing import bearer, token
from tests.gateway.backends import Backend, Conversation
from tests.gateway.conftest import Start, StartBackend
from tests.gateway.support import RunningGateway, eventually, request_state

REQUEST = request_state()
CHECKED = Care(health=HealthCheck("/", up=1, down=1))


def group(*weights: int, balance: Balance = "p2c", care: Care = CHECKED) -> tuple[Group, list[Target]]:
    addresses = [Address(Origin("localhost", 9000 + number), care) for number in range(len(weights))]
    shares = tuple(Share(address, weight) for address, weight in zip(addresses, weights, strict=True))
    targets = {address: Target(address) for address in addresses}
    return Group(Upstream(shares, balance), targets), list(targets.values())


class TestChoice:
    def test_idle_targets_are_chosen_by_their_weights(self) -> None:
        random.seed(1)
        some, targets = group(5, 3, 2)
        turns = 20_000
        seen = Counter(some.pick(REQUEST) for _ in range(turns))
        for target, part in zip(targets, (0.5, 0.3, 0.2), strict=True):
            assert abs(seen[target] - turns * part) < 5 * sqrt(turns * part * (1 - part))

    def test_less_loaded_of_two_targets_is_chosen(self) -> None:
        some, (busy, idle) = group(1, 1)
        busy.relays = 1
        assert {some.pick(REQUEST) for _ in range(100)} == {idle}

    def test_load_is_compared_in_proportion_to_the_weight(self) -> None:
        some, (heavy, light) = group(9, 1)
        heavy.relays, light.relays = 8, 1
        assert {some.pick(REQUEST) for _ in range(100)} == {heavy}
        heavy.relays = 18
        assert {some.pick(REQUEST) for _ in range(100)} == {light}

    def test_busiest_of_many_targets_is_never_chosen(self) -> None:
        some, targets = group(1, 1, 1, 1)
        targets[2].relays = 3
        seen = Counter(some.pick(REQUEST) for _ in range(1000))
        assert targets[2] not in seen
        assert min(seen[target] for target in targets if target is not targets[2]) > 100

    def test_round_robin_takes_turns_by_weight(self) -> None:
        some, (first, second) = group(3, 1, balance="round_robin")
        order = [some.pick(REQUEST) for _ in range(8)]
        assert order == [first, first, second, first] * 2

    def test_target_with_weight_0_is_never_chosen(self) -> None:
        for balance in ("p2c", "round_robin"):
            some, (first, drained, third) = group(1, 0, 1, balance=balance)
            assert {some.pick(REQUEST) for _ in range(100)} == {first, third}
            assert some.pick(REQUEST, (first, third)) is not drained

    def test_retry_goes_to_another_target_if_there_is_one(self) -> None:
        some, (first, second, third) = group(1, 1, 1)
        assert {some.pick(REQUEST, (first, second)) for _ in range(20)} == {third}
        assert some.pick(REQUEST, (first, second, third)) in {first, second, third}


class TestExcludedTargets:
    def test_at_most_half_of_the_targets_are_ejected_the_first_ones_to_fail(self) -> None:
        some, targets = group(1, 1, 1, 1, 1, care=Care(ejection=Ejection(failures=1)))
        for target in targets:
            target.standing.failed(REQUEST)
        assert {some.pick(REQUEST) for _ in range(200)} == set(targets[2:])

    def test_single_target_may_be_ejected(self) -> None:
        some, (only,) = group(1, care=Care(ejection=Ejection(failures=2, time=30)))
        only.standing.failed(REQUEST)
        assert some.pick(REQUEST) is only
        only.standing.failed(REQUEST)
        with pytest.raises(Refusal) as refused:
            some.pick(REQUEST)
        assert refused.value.kind.code == "upstream_open"
        assert refused.value.headers == {"Retry-After": "30"}
        assert not some.may_be_asked

    def test_target_that_fails_its_checks_is_excluded(self) -> None:
        some, (first, second) = group(1, 1)
        first.standing.checked(is_well=False)
        assert {some.pick(REQUEST) for _ in range(100)} == {second}
        first.standing.checked(is_well=True)
        assert {some.pick(REQUEST) for _ in range(100)} == {first, second}

    def test_checks_that_fail_for_all_targets_are_ignored(self) -> None:
        for weights in ((1,), (1, 1, 1)):
            some, targets = group(*weights)
            for target in targets:
                target.standing.checked(is_well=False)
            assert {some.pick(REQUEST) for _ in range(200)} == set(targets)

    def test_all_targets_are_used_if_none_would_be_left(self) -> None:
        some, targets = group(1, 1, care=Care(ejection=Ejection(failures=1), health=CHECKED.health))
        for _ in range(3):
            targets[0].standing.checked(is_well=False)
        targets[1].standing.failed(REQUEST)
        assert {some.pick(REQUEST) for _ in range(100)} == set(targets)


async def test_slow_target_gets_fewer_requests(start_gateway: Start, start_backend: StartBackend) -> None:
    go_on = asyncio.Event()

    async def stuck(conversation: Conversation) -> None:
        await conversation.request()
        await go_on.wait()
        await conversation.answer()

    slow, quick = await start_backend(stuck), await start_backend()
    gateway = await start_gateway(_routes(slow, quick))
    # Requests to the slow target stay there, so from then on the quick one is less loaded.
    asking = [asyncio.create_task(gateway.request("GET", "/x")) for _ in range(40)]
    await eventually(lambda: sum(task.done() for task in asking) + len(slow.received) == 40)
    assert len(slow.received) < 20 < len(quick.received)
    go_on.set()
    assert {(await task).status for task in asking} == {200}


async def test_connections_are_kept_per_target(start_gateway: Start, start_backend: StartBackend) -> None:
    backends = [await start_backend() for _ in range(3)]
    gateway = await start_gateway(_routes(*backends))
    wire = await gateway.connect()
    for _ in range(60):
        assert (await wire.request("GET", "/x")).status == 200
    assert [backend.connections for backend in backends] == [1, 1, 1]
    assert {backend.received[0].value("host") for backend in backends} == {
        f"127.0.0.1:{backend.port}" for backend in backends
    }


class TestPool:
    async def test_at_most_max_idle_connections_are_kept(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        release = asyncio.Event()

        async def together(conversation: Conversation) -> None:
            while await conversation.request():
                await release.wait()
                await conversation.answer()

        backend = await start_backend(together)
        gateway = await start_gateway(_routes(backend, more="pool: {max_idle: 2}"))
        asking = [asyncio.create_task(gateway.request("GET", "/x")) for _ in range(5)]
        await eventually(lambda: len(backend.received) == 5)
        release.set()
        assert {(await task).status for task in asking} == {200}
        assert len(_target(gateway, backend).open) == 2

    async def test_connections_older_than_max_age_are_not_reused(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        async def slow(conversation: Conversation) -> None:
            while await conversation.request():
                await asyncio.sleep(0.005)  # longer than the maximum age of a connection
                await conversation.answer()

        backend = await start_backend(slow)
        gateway = await start_gateway(_routes(backend, more="pool: {max_age: 1ms}"))
        wire = await gateway.connect()
        for _ in range(3):
            assert (await wire.request("GET", "/x")).status == 200
            await eventually(lambda: not _target(gateway, backend).open)
        assert backend.connections == 3

    async def test_connection_that_is_idle_for_too_long_is_closed(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        gateway = await start_gateway(_routes(backend, more="pool: {idle: 10ms}"))
        assert (await gateway.request("GET", "/x")).status == 200
        async with asyncio.timeout(10):
            await backend.lost.wait()


async def test_full_target_is_refused_at_once(start_gateway: Start, start_backend: StartBackend) -> None:
    release = asyncio.Event()

    async def stuck(conversation: Conversation) -> None:
        while await conversation.request():
            await release.wait()
            await conversation.answer()

    backend = await start_backend(stuck)
    breaker = "breaker: {max_requests: 2, max_pending: 1}\n    timeout: {connect: 1m}"
    gateway = await start_gateway(_routes(backend, more=breaker))
    asking = [asyncio.create_task(gateway.request("GET", "/x")) for _ in range(3)]
    await eventually(lambda: _target(gateway, backend).load == 3)
    refused = await gateway.request("GET", "/x")
    assert (refused.status, refused.code, refused.value("retry-after")) == (503, "overloaded", "1")
    release.set()
    assert {(await task).status for task in asking} == {200}
    assert (await gateway.request("GET", "/x")).status == 200
    assert backend.connections == 2


async def test_room_that_comes_too_late_for_one_waiter_goes_to_the_next() -> None:
    target = Target(Address(Origin("127.0.0.1", 1)))
    first, second = (asyncio.create_task(target._set_free()) for _ in range(2))
    await asyncio.sleep(0)
    target._wake_one()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    async with asyncio.timeout(10):
        assert await second is None


class TestSplit:
    async def test_split_always_takes_the_same_callers(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        main, canary = await start_backend(), await start_backend()
        split = f"split: {{backends: ['{canary.url}'], weight: 30%}}"
        gateway = await start_gateway(_routes(main, more=split, auth="required"))
        wire, users, sides = await gateway.connect(), 300, dict[str, set[int]]()
        for number in range(users):
            sent = bearer(token(f"user-{number}"))
            for _ in range(2):
                before = len(canary.received)
                assert (await wire.request("GET", "/x", sent)).status == 200
                sides.setdefault(f"user-{number}", set()).add(len(canary.received) - before)
        assert all(len(side) == 1 for side in sides.values()), "a caller was on both sides"
        part = sum(side == {1} for side in sides.values())
        assert abs(part - users * 0.3) < 5 * sqrt(users * 0.3 * 0.7)

    async def test_header_chooses_the_split(self, start_gateway: Start, start_backend: StartBackend) -> None:
        main, canary = await start_backend(), await start_backend()
        split = f"split: {{backends: ['{canary.url}'], header: 'X-Canary: yes'}}"
        gateway = await start_gateway(_routes(main, more=split))
        for headers, chosen in (
            ({}, main),
            ({"X-Canary": "no"}, main),
            ({"X-CANARY": "yes"}, canary),
        ):
            before = len(chosen.received)
            assert (await gateway.request("GET", "/x", headers)).status == 200
            assert len(chosen.received) == before + 1

    async def test_weight_of_a_split_may_be_all_or_none(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        main, canary = await start_backend(), await start_backend()
        for weight, chosen in (("0%", main), ("100%", canary)):
            split = f"split: {{backends: ['{canary.url}'], weight: {weight}}}"
            gateway = await start_gateway(_routes(main, more=split))
            assert (await gateway.request("GET", "/x")).status == 200
            assert len(chosen.received) == 1

    async def test_callers_of_an_ejected_split_go_to_the_main_targets(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        main, canary = await start_backend(), await start_backend()
        await canary.__aexit__()
        more = (
            f"split: {{backends: ['{canary.url}'], weight: 100%}}\n    "
            "ejection: {failures: 2, time: 5m}\n    retry: {attempts: 0}"
        )
        gateway = await start_gateway(_routes(main, more=more))
        statuses = [(await gateway.request("GET", "/x")).status for _ in range(4)]
        assert statuses == [502, 502, 200, 200]


class TestChecks:
    async def test_checks_take_a_target_down_and_bring_it_back(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        status = "200 OK"

        async def moody(conversation: Conversation) -> None:
            while received := await conversation.request():
                is_check = received.target == "/health/ready"
                await conversation.answer(b"moody", status if is_check else "200 OK")

        first, second = await start_backend(moody), await start_backend()
        check = "health: {path: /health/ready, every: 10ms, timeout: 1s, up: 2, down: 2}"
        gateway = await start_gateway(_routes(first, second, more=check))
        standing = _target(gateway, first).standing
        status = "503 Service Unavailable"
        await eventually(lambda: standing.is_down)
        assert _healthy(first) == 0
        wire = await gateway.connect()
        for _ in range(20):
            assert (await wire.request("GET", "/x")).body != b"moody"
        status = "302 Found"
        await eventually(lambda: not standing.is_down)
        assert (_healthy(first), _healthy(second)) == (1, 1)

    @pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 2", None])
    async def test_invalid_response_fails_a_check(
        self, start_gateway: Start, start_backend: StartBackend, answer: bytes | None
    ) -> None:
        async def ill(conversation: Conversation) -> None:
            await conversation.request()
            if answer is None:
                await conversation.reader.read()
            else:
                await conversation.send(answer)

        backend = await start_backend(ill)
        check = "health: {path: /, every: 10ms, timeout: 100ms, down: 1}"
        gateway = await start_gateway(_routes(backend, more=check))
        await eventually(lambda: _target(gateway, backend).standing.is_down)


class TestReload:
    async def test_unchanged_targets_keep_their_connections(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        first, second = await start_backend(), await start_backend()
        gateway = await start_gateway(_routes(first, second))
        wire = await gateway.connect()
        for _ in range(20):
            assert (await wire.request("GET", "/x")).status == 200
        before = _target(gateway, first)
        await _reload(gateway, _routes((first, 7), second))
        assert _target(gateway, first) is before
        for _ in range(20):
            assert (await wire.request("GET", "/x")).status == 200
        assert (first.connections, second.connections) == (1, 1)

    async def test_drained_target_finishes_its_requests(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        arrived, release = asyncio.Event(), asyncio.Event()

        async def slow(conversation: Conversation) -> None:
            while await conversation.request():
                arrived.set()
                await release.wait()
                await conversation.answer(b"done")

        first, second = await start_backend(slow), await start_backend()
        gateway = await start_gateway(_routes((first, 1), (second, 0)))
        asking = asyncio.create_task(gateway.request("GET", "/x"))
        await arrived.wait()
        await _reload(gateway, _routes((first, 0), (second, 1)))
        assert [(await gateway.request("GET", "/x")).status for _ in range(10)] == [200] * 10
        assert (len(first.received), len(second.received)) == (1, 10)
        release.set()
        assert (await asking).body == b"done"

    async def test_health_survives_and_metrics_of_removed_targets_are_dropped(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        first, second = await start_backend(), await start_backend()
        gateway = await start_gateway(_routes(first, second, more="ejection: {failures: 1, time: 5m}"))
        _target(gateway, first).standing.failed(REQUEST)
        await _reload(gateway, _routes((first, 2), second, more="ejection: {failures: 1, time: 5m}"))
        assert [(await gateway.request("GET", "/x")).status for _ in range(10)] == [200] * 10
        assert not first.received
        assert (_healthy(first), _healthy(second)) == (0, 1)
        await _reload(gateway, _routes(second))
        assert (_healthy(first), _healthy(second)) == (None, 1)


async def test_service_is_healthy_while_one_of_its_targets_is(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    first, second = await start_backend(), await start_backend()
    gateway = await start_gateway(_routes(first, second))
    await first.__aexit__()
    assert (await gateway.request("GET", "/health")).json()["services"]["x"]["status"] == "healthy"


async def test_redirects_do_not_contain_the_address_of_a_target(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    async def redirects(conversation: Conversation) -> None:
        while await conversation.request():
            await conversation.answer(b"", "302 Found", f"Location: {conversation.backend.url}/x/y")

    backends = [await start_backend(redirects) for _ in range(3)]
    gateway = await start_gateway(_routes(*backends))
    assert {(await gateway.request("GET", "/x")).value("location") for _ in range(20)} == {"/x/y"}


async def _reload(gateway: RunningGateway, routes: str) -> None:
    gateway.write(routes)
    assert (await gateway.reload.now()).changed


def _routes(*backends: Backend | tuple[Backend, int], more: str = "", auth: str = "none") -> str:
    weighted = [each if isinstance(each, tuple) else (each, 1) for each in backends]
    listed = ", ".join(f"{{url: '{backend.url}', weight: {weight}}}" for backend, weight in weighted)
    return f"""
routes:
  - path: /x
    backends: [{listed}]
    auth: {auth}
    {more}
defaults: {{rate_limit: {{rate: 100000/s}}}}
"""


def _target(gateway: RunningGateway, backend: Backend) -> Target:
    backends: Any = gateway.state.routing.backends.values()
    return cast("Target", next(each for each in backends if each.origin.port == backend.port))


def _healthy(backend: Backend) -> float | None:
    labels = {"route": "x", "target": f"127.0.0.1:{backend.port}"}
    return REGISTRY.get_sample_value("gateway_target_healthy", labels)
