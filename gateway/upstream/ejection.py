"""Ejection of targets: consecutive failures eject a target, and one response brings it back."""

import time
from collections import deque
from collections.abc import Callable

import structlog

from gateway.routing.upstreams import Target
from gateway.telemetry.metrics import EJECTIONS

log = structlog.get_logger(__name__)


class Standing:
    """The health of one target, from its responses and from active checks.

    Only failures before a response begins count: refused, reset, timeout, invalid HTTP. The status of a
    response and the way it ends do not count.
    """

    def __init__(self, target: Target, changed: Callable[[], None]) -> None:
        self.is_ejected = False
        self.is_down = False  # by active checks
        self.is_troubled = False  # whether the next response can change the state
        self.since = self.until = 0.0  # when it was ejected, and until when it gets no requests
        self.trial: object | None = None  # the one request that probes whether it is back
        self._name = target.origin.authority
        self._ejection = target.care.ejection
        self._check = target.care.health
        self._changed = changed
        self._failures: deque[float] = deque(maxlen=max(1, self._ejection.failures))
        self._term = self._ejection.time
        self._returned = float("-inf")
        self._contrary_checks = 0

    @property
    def is_healthy(self) -> bool:
        return not (self.is_ejected or self.is_down)

    def may_try(self, now: float) -> bool:
        """Whether the ejection time is over and no probe is in progress."""
        return now >= self.until and self.trial is None

    def answered(self) -> None:
        """Record that a response has begun."""
        self._failures.clear()
        self.is_troubled = False
        if self.is_ejected:
            self.is_ejected, self.trial, self._returned = False, None, time.monotonic()
            log.info("target_returned", target=self._name)
            self._changed()

    def failed(self, request: object) -> None:
        """Record that a request failed before its response began."""
        if not self._ejection.failures:
            return
        now = time.monotonic()
        self.is_troubled = True
        if self.is_ejected:
            # Requests sent before the ejection prove nothing; only the probe counts.
            if self.trial is request:
                self._eject(now, min(2 * self._term, self._ejection.time_max))
            return
        self._failures.append(now)
        if len(self._failures) == self._ejection.failures and (
            now - self._failures[0] <= self._ejection.window
        ):
            # After a healthy period as long as its last ejection, a target restarts at the shortest time.
            is_forgiven = now - self._returned > self._term
            longer = min(2 * self._term, self._ejection.time_max)
            self._eject(now, self._ejection.time if is_forgiven else longer)

    def let_go(self, request: object) -> None:
        """Release the probe: its request ended without a result for this target."""
        if self.trial is request:
            self.trial = None

    def checked(self, *, is_well: bool) -> None:
        """Record the result of an active check."""
        assert self._check is not None
        if is_well is not self.is_down:
            self._contrary_checks = 0
            return
        self._contrary_checks += 1
        if self._contrary_checks >= (self._check.up if is_well else self._check.down):
            self._contrary_checks, self.is_down = 0, not is_well
            log.info("target_checked", target=self._name, is_down=self.is_down)
            self._changed()

    def _eject(self, now: float, term: float) -> None:
        self._term, self.until = term, now + term
        self.since = self.since if self.is_ejected else now
        self.is_ejected, self.trial = True, None
        self._failures.clear()
        EJECTIONS.labels(self._name).inc()
        log.warning("target_ejected", target=self._name, seconds=round(term, 3))
        self._changed()
