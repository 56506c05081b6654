"""The state that all requests of one process share."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Protocol

from gateway.clients.connection_limits import Crowd
from gateway.clients.hangups import Hangups
from gateway.clients.slow_clients import Arriving, Pace
from gateway.policies.api_keys import ApiKeys
from gateway.policies.credential_exchange import CredentialExchange
from gateway.policies.failed_credentials import Failures
from gateway.policies.rate_limit_store import LimitStore
from gateway.request import RequestRules
from gateway.routing.table import RouteTable
from gateway.runtime.live_routes import Routing
from gateway.settings import Settings
from gateway.telemetry import metrics
from gateway.upstream.pool import Backend
from shared.caller import Caller
from shared.identity.revocations import Follower
from shared.identity.same_origin import origin_of
from shared.identity.tokens import TokenVerifier
from shared.peers.client import HttpClient
from shared.process.proxies import Proxies

WATCH_SECONDS = 0.25


class Watched(Protocol):
    """An object with a deadline."""

    deadline: float

    def expire(self) -> None: ...

    def recheck_access(self) -> None:
        """End this request if its caller's token or key was revoked."""

    def close(self) -> None: ...


class Gateway:
    """The current routing, and the state that survives a reload: verified tokens and open requests."""

    def __init__(self, settings: Settings, table: RouteTable, client: HttpClient, api_keys: ApiKeys) -> None:
        self.settings = settings
        self.api_keys = api_keys
        self.client = client
        self.verifier = TokenVerifier(settings, client)
        self.verifier.revocations.on_change.append(self._end_revoked)
        self.follower = Follower(self.verifier.revocations, client, settings)
        self.exchange = CredentialExchange(settings, client)
        self.rules = RequestRules(
            Proxies(settings.trusted_proxies),
            settings.api_key_header.lower().encode(),
            settings.session_cookie.encode(),
            origin_of(settings.oauth_issuer),
        )
        self.failures = Failures(settings.auth_failures_per_second)
        self.crowd = Crowd(settings, self.rules.proxies)
        self.pace = Pace(settings)
        redis_url = settings.redis_url and settings.redis_url.get_secret_value()
        self.limit_store = LimitStore(redis_url, settings.limit_store_seconds) if redis_url else None
        self.routing = Routing(table, store=self.limit_store)
        self.open: set[Watched] = set()
        self.idle: dict[
            Watched, float
        ] = {}  # when each connection without a request became idle, oldest first
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
        """Whether load balancers should route to this gateway."""
        return not self.is_leaving and self.verifier.revocations.is_ready

    def take(self, table: RouteTable) -> None:
        """Use this table from the next request on."""
        before = self.routing
        self.routing = Routing(table, before, self.limit_store)
        for target, backend in before.backends.items():
            if target not in self.routing.backends:
                backend.retire()
                self._retired.append(backend)
        metrics.forget_targets(before.places, self.routing.places)
        metrics.forget({route.name for route in before.table.routes} - {route.name for route in table.routes})

    def take_keys(self, api_keys: ApiKeys) -> None:
        """Accept these keys from now on, and end requests of keys that were removed."""
        self.api_keys = api_keys
        self._end_revoked()

    def start(self) -> None:
        self.hangups.start()
        self._arm()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a task; the reference keeps it alive."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Close everything that is still open after the drain time."""
        if self._watch is not None:
            self._watch.cancel()
        self.hangups.stop()
        for task in tuple(self._tasks):
            task.cancel()
        for exchange in self._under_way():
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
        for each in self._under_way():
            each.recheck_access()

    def _under_way(self) -> set[Watched | Arriving]:
        """Return everything that is open, and requests whose body is still arriving."""
        return set[Watched | Arriving](self.open).union(self.pace.arriving)

    def _expire(self) -> None:
        # One timer for all requests: two clock reads per request are cheaper than arming and disarming.
        self._arm()  # first, so that deadlines still work if something below fails
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
