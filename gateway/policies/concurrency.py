"""Concurrency limits: how many requests and open sockets each caller may have."""

from gateway.errors import TOO_MANY_AT_ONCE, Refusal
from gateway.policies.limit_subjects import counted
from gateway.request import RequestState
from gateway.routing.table import Concurrency

RETRY_SECONDS = 1  # it is unknown when a slot becomes free


class Slots:
    """The slots of one route in this process; only callers with requests in progress need memory.

    A slot is held until the request, or the socket that it became, has ended.
    """

    def __init__(self, concurrency: Concurrency) -> None:
        self.concurrency = concurrency
        self._counted = counted(concurrency.key)
        self._holders: dict[RequestState, str] = {}
        self.taken: dict[str, int] = {}

    def take(self, request: RequestState) -> None:
        key = self._counted(request)
        under_way = self.taken.get(key, 0)
        most = self.concurrency.max
        if under_way >= most:
            words = f"There are {most} requests in progress, which is the maximum."
            raise Refusal(TOO_MANY_AT_ONCE, words, {"Retry-After": str(RETRY_SECONDS)})
        self._holders[request] = key
        self.taken[key] = under_way + 1

    def free(self, request: RequestState) -> None:
        """Free the slot of a request that has ended, if it got one."""
        key = self._holders.pop(request, None)
        if key is not None:
            self.taken[key] -= 1
            if not self.taken[key]:
                del self.taken[key]
