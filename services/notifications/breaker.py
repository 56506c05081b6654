"""What became of an attempt to send something, and the pause after failures of a provider."""

import time
from dataclasses import dataclass
from typing import Literal

import structlog

from services.notifications.reasons import Reason

FAILURES_UNTIL_OPEN = 5
OPEN_SECONDS_FIRST, OPEN_SECONDS_MAX = 15.0, 300.0
_OF_THE_PROVIDER = ("away", "unknown")
_OF_US = ("stopped", "unready", "missing")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an attempt.

    The provider accepted the delivery (`sent`), refused it, asks for a retry (`deferred`), or is down
    (`away`). With `unknown`, its response was lost, and it may have accepted the delivery. With `unready` the
    attachment is not available yet, with `missing` it does not exist, and with `stopped` the service stops.
    `suppressed` says why nothing more may be sent to the address.
    """

    kind: Literal["sent", "refused", "deferred", "away", "unknown", "unready", "missing", "stopped"]
    code: str | None = None
    error: str | None = None
    suppressed: Reason | None = None
    provider_id: str | None = None
    retry_after: float | None = None

    @property
    def is_of_the_provider(self) -> bool:
        """Whether it means that the provider is out of order."""
        return self.kind in _OF_THE_PROVIDER

    @property
    def is_counted(self) -> bool:
        """Whether it uses up an attempt: an outage is not the fault of what is sent."""
        return self.kind in ("deferred", "missing")


class Breaker:
    """Stops attempts for a while after several failures of a provider in a row; then one is a probe."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._failures, self._open_until = 0, 0.0

    @property
    def wait_seconds(self) -> float:
        return max(self._open_until - time.monotonic(), 0.0)

    @property
    def is_probing(self) -> bool:
        return self._failures >= FAILURES_UNTIL_OPEN

    def note(self, outcome: Outcome) -> None:
        if outcome.kind in _OF_US or (outcome.is_of_the_provider and self.wait_seconds):
            return  # these say nothing new about the provider
        self._failures = self._failures + 1 if outcome.is_of_the_provider else 0
        times = self._failures - FAILURES_UNTIL_OPEN
        if times >= 0:
            pause = min(OPEN_SECONDS_FIRST * 2 ** min(times, 10), OPEN_SECONDS_MAX)
            self._open_until = time.monotonic() + pause
            event = f"{self._provider}_server_away"
            log.error(event, seconds=pause, error=outcome.error)
