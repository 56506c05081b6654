"""Step-up: sensitive operations require a recent sign-in, or one with two factors (RFC 9470)."""

import time
from dataclasses import dataclass

from shared.caller import Caller
from shared.errors import SignInAgain

CLOCKS_DIFFER_SECONDS = 30


@dataclass(frozen=True, slots=True)
class StepUp:
    """The maximum age of a sign-in in seconds, and its minimum number of factors.

    Programs do not sign in, so personal access tokens and client_credentials tokens are refused.
    """

    max_age: int = 300
    factors: int = 1

    def require(self, caller: Caller | None) -> None:
        """Refuse a caller whose sign-in is too old or too weak; the access rules refuse a missing caller."""
        if caller is not None and not self.is_met(caller.authenticated, caller.acr):
            raise SignInAgain(self.max_age, str(self.factors) if caller.acr < self.factors else None)

    def is_met(self, since: float | None, factors: int) -> bool:
        """Return whether a sign-in at this time, with this many factors, is recent and strong enough."""
        is_recent = since is not None and time.time() - since <= self.max_age + CLOCKS_DIFFER_SECONDS
        return is_recent and factors >= self.factors


# Changes that a stolen session must not be able to make.
RECENT = StepUp(max_age=15 * 60)
