"""Handlers of analytics: events of signed-in clients, and the consent to them."""

from sqlmodel import Session

from services.notifications.analytics.events import Analytics, fault_of
from services.notifications.analytics.schemas import ChangeConsent, ConsentOut, MeasuredOut, MeasureEvent
from shared.caller import Caller
from shared.errors import FieldFault, Invalid
from shared.events import Trail


def measure_event(body: MeasureEvent, caller: Caller, session: Session, analytics: Analytics) -> MeasuredOut:
    """Send an event to Google Analytics, if you have agreed to it.

    Google learns a random number instead of your account, and no address. Nothing is sent without consent.
    """
    fault = fault_of(body.name, body.params)
    if fault is not None:
        field, code, message = fault
        raise Invalid(errors=[FieldFault(field=field, code=code, message=message)])
    is_queued = analytics.add(session, caller.id, body.name, body.params)
    return MeasuredOut(name=body.name, is_queued=is_queued)


def show_consent(caller: Caller, session: Session, analytics: Analytics) -> ConsentOut:
    """Show whether you agree to being measured."""
    return _consent(caller, session, analytics)


def change_consent(
    body: ChangeConsent, caller: Caller, session: Session, analytics: Analytics, trail: Trail
) -> ConsentOut:
    """Agree to being measured, or no longer. Without consent, what is still waiting is not sent."""
    analytics.agree(session, caller.id, is_on=body.is_on)
    trail.add(is_on=body.is_on)
    return _consent(caller, session, analytics)


def _consent(caller: Caller, session: Session, analytics: Analytics) -> ConsentOut:
    is_on = analytics.client_id(session, caller.id) is not None
    return ConsentOut(is_on=is_on, is_measured=analytics.is_on)
