"""Targets of a route and their settings. Immutable; the live state of a target is in `upstream/`."""

from dataclasses import dataclass
from typing import Literal

KIB = 1 << 10

Balance = Literal["p2c", "round_robin"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a service listens."""

    host: str
    port: int

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 80 else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.authority}"


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How many idle connections are kept, and for how long."""

    max_idle: int = 256
    idle: float = 55.0  # below the 75 s of the services, so that they never close a connection first
    max_age: float = 600.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """How many requests one target may have in progress, and how many more may wait."""

    max_requests: int = 1024
    max_pending: int = 256


@dataclass(frozen=True, slots=True)
class Ejection:
    """After `failures` in a row within `window`, a target is ejected for `time`, longer each time."""

    failures: int = 5
    window: float = 10.0
    time: float = 1.0  # a restarted service is back within that time, and most targets have no alternative
    time_max: float = 10.0


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Active health checks of a target."""

    path: str
    every: float = 5.0
    timeout: float = 2.0
    up: int = 2
    down: int = 3


@dataclass(frozen=True, slots=True)
class Care:
    """The settings of each target of a route."""

    pool: PoolLimits = PoolLimits()
    breaker: Breaker = Breaker()
    ejection: Ejection = Ejection()
    health: HealthCheck | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One origin and its settings.

    Connections and health belong to this key, so they survive a new table in which the target is unchanged.
    """

    origin: Origin
    care: Care = Care()


@dataclass(frozen=True, slots=True)
class Retry:
    """At most `attempts` retries per request, and at most `budget` of all requests."""

    attempts: int = 1
    budget: float = 0.2
    backoff_min: float = 0.025
    backoff_max: float = 0.25
    buffer: int = 64 * KIB


@dataclass(frozen=True, slots=True)
class Share:
    """A target's share of the requests; with weight 0 it drains."""

    target: Target
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Upstream:
    """Equivalent targets, and how requests are balanced over them."""

    shares: tuple[Share, ...]
    balance: Balance = "p2c"
    retry: Retry = Retry()

    @classmethod
    def to(cls, *origins: Origin) -> "Upstream":
        return cls(tuple(Share(Target(origin)) for origin in origins))

    @property
    def origins(self) -> tuple[Origin, ...]:
        return tuple(share.target.origin for share in self.shares)


@dataclass(frozen=True, slots=True)
class Split:
    """Another upstream for some callers: a percentage of them, or those that ask for it by a header."""

    upstream: Upstream
    weight: float = 0.0
    header: tuple[bytes, bytes] | None = None
