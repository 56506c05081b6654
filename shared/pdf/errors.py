"""The refusal of a document that could not be rendered."""

from enum import StrEnum

from shared.errors import Problem


class Reason(StrEnum):
    TOOK_TOO_LONG = "took_too_long"
    WORKER_DIED = "worker_died"  # such as for lack of memory
    WORKER_NOT_STARTED = "worker_not_started"
    NOT_COMPILED = "not_compiled"
    TOO_LARGE = "too_large"


class NotRendered(Problem):
    """The PDF could not be made, for the `reason` given. Nothing has changed; try again in a moment."""

    status = 503
    code = "pdf_not_rendered"

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(headers={"Retry-After": "1"}, reason=str(reason))
