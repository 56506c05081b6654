"""What all exchanges of one process share."""

import asyncio
import time
from collections.abc import Coroutine, Mapping
from typing import Any, Protocol

from gateway import errors
from gateway.clients.connection_limits import Crowd
from gateway.clients.hangups import Hangups
from gateway.clients.slow_clients import Pace
from gateway.errors import Refusal
from gateway.forwarding.exchange import Exchange
from gateway.forwarding.relay import Relay
from gateway.http.websocket import POLICY_VIOLATION
from gateway.policies.api_keys import ApiKeys
from gateway.policies.concurrency import Slots
from gateway.policies.failed_credentials import Failures
from gateway.policies.rate_limit_store import LimitStore
from gateway.policies.rate_limits import RouteLimits
from gateway.routing.table import RouteTable
from gateway.routing.upstreams import Target, Upstream
from gateway.settings import Settings
from gateway.telemetry import metrics
from gateway.upstream.balancer import Group
from gateway.upstream.pool import Backend
from shared.caller import Caller
from shared.identity.revocations import Follower
from shared.identity.tokens import TokenVerifier
from shared.peers.client import HttpClient
from shared.process.proxies import Proxies

WATCH_SECONDS = 0.25
REVOKED_SECONDS = 5.0


class Watched(Protocol):
    """Something with a deadline."""

    deadline: float

    def expire(self) -> None: ...

    def close(self) -> None: ...


class Routing:
    """One routes file at work: its table, and the connections and limiters that go with it.

    An exchange keeps the one it began with, so that a newer file cannot pull anything away under it. What
    both files say in the same words is one and the same object in both: no connection is closed and no
    count begins anew.
    """

    def __init__(
        self, table: RouteTable, before: "Routing | None" = None, store: LimitStore | None = None
    ) -> None:
        self.table = table
        backends = before.backends if before else {}
        routes: dict[Target, set[str]] = {}
        for route in table.routes:
            for target in route.targets:
                routes.setdefault(target, set()).add(route.name)
        self.backends: dict[Target, Backend] = {
            target: backends.get(target) or Backend(target) for target in routes
        }
        for target, backend in self.backends.items():
            backend.serve(routes[target])
        self.all_groups: dict[Upstream, Group] = self._made_groups(before.all_groups if before else {})
        # By name, which is quicker to look up than everything that makes up an upstream.
        self.groups = {route.name: self.all_groups[route.upstream] for route in table.routes}
        self.split_groups = {
            route.name: self.all_groups[route.split.upstream] for route in table.routes if route.split
        }
        limits = before.limits if before else {}
        self.limits: dict[str, RouteLimits] = {
            route.name: RouteLimits(route.name, route.policy.rate_limits, limits.get(route.name), store)
            for route in table.routes
        }
        self.slots: dict[str, Slots] = self._made_slots(before.slots if before else {})

    @property
    def places(self) -> set[tuple[str, str]]:
        """Every route's name with every address it leads to."""
        return {
            (route.name, target.origin.authority) for route in self.table.routes for target in route.targets
        }

    def _made_slots(self, before: Mapping[str, Slots]) -> dict[str, Slots]:
        found: dict[str, Slots] = {}
        for route in self.table.routes:
            concurrency, slots = route.policy.concurrency, before.get(route.name)
            if concurrency is not None:
                is_same = slots is not None and slots.concurrency == concurrency
                found[route.name] = slots if slots is not None and is_same else Slots(concurrency)
        return found

    def _made_groups(self, before: Mapping[Upstream, Group]) -> dict[Upstream, Group]:
        upstreams = {upstream for route in self.table.routes for upstream in route.upstreams}
        return {upstream: before.get(upstream) or Group(upstream, self.backends) for upstream in upstreams}


class Gateway:
    """The routing and what outlives it: verified tokens and open exchanges."""

    def __init__(self, settings: Settings, table: RouteTable, client: HttpClient, api_keys: ApiKeys) -> None:
        self.settings = settings
        self.api_keys = api_keys
        self.client = client
        self.verifier = TokenVerifier(settings, client)
        self.verifier.revocations.on_change.append(self._end_revoked)
        self.follower = Follower(self.verifier.revocations, client, settings)
        self.proxies = Proxies(settings.trusted_proxies)
        self.failures = Failures(settings.auth_failures_per_second)
        self.crowd = Crowd(settings, self.proxies)
        self.pace = Pace(settings)
        redis_url = settings.redis_url and settings.redis_url.get_secret_value()
        self.limit_store = LimitStore(redis_url, settings.limit_store_seconds) if redis_url else None
        self.routing = Routing(table, store=self.limit_store)
        self.open: set[Watched] = set()
        self.idle: dict[
            Watched, float
        ] = {}  # clients between two requests, since when; the first the longest
        self.is_leaving = False
        self.hangups = Hangups()
        self._retired: list[Backend] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch: asyncio.TimerHandle | None = None

    @property
    def table(self) -> RouteTable:
        return self.routing.table

    @property
    def is_ready(self) -> bool:
        """Whether whoever spreads requests over several gateways should send some here."""
        return not self.is_leaving and self.verifier.revocations.is_ready

    def take(self, table: RouteTable) -> None:
        """Route by this table from the next request on."""
        before = self.routing
        self.routing = Routing(table, before, self.limit_store)
        for target, backend in before.backends.items():
            if target not in self.routing.backends:
                backend.retire()
                self._retired.append(backend)
        metrics.forget_targets(before.places, self.routing.places)
        metrics.forget({route.name for route in before.table.routes} - {route.name for route in table.routes})

    def take_keys(self, api_keys: ApiKeys) -> None:
        """Believe these keys from now on; what is open for those that are gone ends."""
        self.api_keys = api_keys
        self._end_revoked()

    def start(self) -> None:
        self.hangups.start()
        self._arm()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what has to wait; the reference keeps the task alive."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Cut what is still open; the drain before this has given everything its time."""
        if self._watch is not None:
            self._watch.cancel()
        self.hangups.stop()
        for task in tuple(self._tasks):
            task.cancel()
        for exchange in (*self.open, *self.pace.arriving):
            exchange.close()
        for backend in self._backends:
            backend.close()
        metrics.pour()
        await self.client.close()

    @property
    def _backends(self) -> list[Backend]:
        return [*self.routing.backends.values(), *self._retired]

    def has_lost_access(self, caller: Caller | None) -> bool:
        if caller is None:
            return False
        return self.verifier.revocations.cover(caller) or self.api_keys.have_dropped(caller)

    def _end_revoked(self) -> None:
        """End what is open for a caller whose token counts no more.

        A request that is under way may be the very change that revokes, and has some time to be answered.
        """
        for each in {*self.open, *self.pace.arriving}:
            if isinstance(each, Relay) and self.has_lost_access(each.caller):
                each.close(POLICY_VIOLATION)
            elif isinstance(each, Exchange) and self.has_lost_access(each.caller):
                loop = asyncio.get_running_loop()
                loop.call_later(REVOKED_SECONDS, each.refuse, Refusal(errors.REVOKED))

    def _expire(self) -> None:
        # One timer for all exchanges: two clock reads per request are cheaper than arming and disarming.
        self._arm()  # first, since whatever goes wrong with one of them, the others still have deadlines
        now = time.monotonic()
        for exchange in [each for each in self.open if each.deadline < now]:
            exchange.expire()
        while self.idle:
            client, since = next(iter(self.idle.items()))
            if now - since < self.settings.keep_alive_seconds:
                break
            del self.idle[client]
            client.expire()
        self.pace.look(now, self.crowd.seats.items())
        for backend in self._backends:
            backend.drop_stale(now)
        self._retired = [backend for backend in self._retired if backend.open]
        for backend in self.routing.backends.values():
            if backend.is_check_due(now):
                self.spawn(backend.check())
        for group in self.routing.all_groups.values():
            group.remember(now)
        metrics.pour()

    def _arm(self) -> None:
        self._watch = asyncio.get_running_loop().call_later(WATCH_SECONDS, self._expire)
