"""Why nothing is sent to an address."""

from datetime import timedelta
from enum import StrEnum


class Reason(StrEnum):
    """Why nothing is sent to an address."""

    BOUNCE = "bounce"
    INVALID = "invalid"
    COMPLAINT = "complaint"
    UNSUBSCRIBED = "unsubscribed"
    ADMIN = "admin"


# A mailbox may be created again. What people or admins have decided does not end by itself.
KEPT_FOR = {Reason.BOUNCE: timedelta(days=30), Reason.INVALID: timedelta(days=30)}
# Such an address exists. Its owner wants no mails, but still has to hear of a changed password.
_UNWANTED = (Reason.COMPLAINT, Reason.UNSUBSCRIBED)


def stops(reason: Reason, *, is_security: bool) -> bool:
    return not (is_security and reason in _UNWANTED)
