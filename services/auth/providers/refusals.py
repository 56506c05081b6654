"""Refusals of a sign-in: the response, and the reason, which only operators see."""

from services.auth.errors import ProviderDown, UntrustedProvider
from shared.errors import Problem

RETRY_SECONDS = 30


class Refused(Exception):
    """A refused sign-in; `reason` is one word for the log and the audit log."""

    def __init__(self, problem: Problem, reason: str) -> None:
        self.problem, self.reason = problem, reason
        super().__init__(reason)


def untrusted(reason: str) -> Refused:
    """Refuse a response that cannot be trusted."""
    return Refused(UntrustedProvider(), reason)


def down(reason: str, retry_after: float | None = None) -> Refused:
    """Refuse because the provider is down; a retry may succeed."""
    seconds = str(max(1, round(retry_after or RETRY_SECONDS)))
    return Refused(ProviderDown(headers={"Retry-After": seconds}), reason)
