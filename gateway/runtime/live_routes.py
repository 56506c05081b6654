"""The routing table in use, with its targets, limiters and slots."""

from collections.abc import Mapping

from gateway.policies.concurrency import Slots
from gateway.policies.rate_limit_store import LimitStore
from gateway.policies.rate_limits import RouteLimits
from gateway.routing.table import RouteTable
from gateway.routing.upstreams import Target, Upstream
from gateway.upstream.balancer import Group
from gateway.upstream.pool import Backend


class Routing:
    """One routes file in use: its table, and the connections and limiters that belong to it.

    A request keeps the one it began with, so a newer file cannot affect it. Parts that are equal in
    both files are the same object in both: no connection is closed, and no count restarts.
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
        # By name, because hashing all fields of an upstream is slower.
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
        """Every route's name with each of its target addresses."""
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
