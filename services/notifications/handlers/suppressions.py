"""Handlers with which admins see, add and remove suppressions."""

from sqlmodel import Session

from services.notifications.mail.addresses import BadAddress, read_address
from services.notifications.models import SUPPRESSIONS
from services.notifications.reasons import Reason
from services.notifications.suppression_schemas import (
    AddSuppression,
    AllowAddress,
    AllowedOut,
    ListSuppressions,
    SuppressionOut,
)
from services.notifications.suppressions import Suppressions
from shared.caller import Caller
from shared.errors import FieldFault, Invalid
from shared.events import Trail
from shared.http.schemas import Id, Page
from shared.lists.pagination import paginate_equal


def list_suppressions(query: ListSuppressions, session: Session) -> Page[SuppressionOut]:
    """List suppressions, newest first. Addresses are stored as hashes, so none is shown."""
    given = {"channel": query.channel, "reason": query.reason}
    wanted = {name: value for name, value in given.items() if value is not None}
    return paginate_equal(session, SUPPRESSIONS, wanted, query, SuppressionOut.unchecked)


def add_suppression(
    body: AddSuppression, caller: Caller, session: Session, suppressions: Suppressions, trail: Trail
) -> SuppressionOut:
    """Send nothing to an address or a number any more, not even mails about security.

    If an admin had suppressed it already, only its end changes.
    """
    try:
        if body.email is not None:
            read_address(body.email)
    except BadAddress as error:
        raise Invalid(errors=[FieldFault(field="email", code="bad_address", message=str(error))]) from error
    row = suppressions.add(session, *body.to, Reason.ADMIN, by=caller.id, days=body.days)
    trail.add(channel=row["channel"], reason=row["reason"])
    return SuppressionOut.unchecked(row)


def remove_suppression(
    suppression_id: Id, session: Session, suppressions: Suppressions, trail: Trail
) -> None:
    """Remove a suppression. An address with another one stays suppressed."""
    row = suppressions.remove(session, suppression_id)
    trail.add(channel=row["channel"], reason=row["reason"])


def allow_address(
    body: AllowAddress, session: Session, suppressions: Suppressions, trail: Trail
) -> AllowedOut:
    """Remove all suppressions of an address or a number."""
    reasons = suppressions.lift(session, *body.to)
    trail.add(reasons=reasons)
    return AllowedOut(was_suppressed=bool(reasons))
