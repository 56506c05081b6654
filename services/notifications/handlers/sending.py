"""Handlers of messages that admins and other services send, and of announcements."""

from typing import Any

from sqlmodel import Session

from services.notifications import accounts
from services.notifications.accounts import Addressee
from services.notifications.errors import Duplicate
from services.notifications.models import JOBS
from services.notifications.notices import Desk
from services.notifications.sending import keys
from services.notifications.sending.announcements import KIND, notice_of
from services.notifications.sending.schemas import AnnouncementOut, Audience, SendNotification, SentOut
from shared.caller import Caller
from shared.clock import now
from shared.errors import FieldFault, Invalid
from shared.events import Trail
from shared.http.schemas import Id, Page
from shared.lists.pagination import PageQuery, paginate_equal
from shared.peers.client import Peer
from shared.work.jobs import Jobs


async def find_addressee(body: SendNotification, auth: Peer) -> Addressee:
    return Addressee(None) if body.user_id is None else await accounts.fetch(auth, body.user_id)


def send_notification(
    body: SendNotification,
    addressee: Addressee,
    caller: Caller,
    session: Session,
    desk: Desk,
    jobs: Jobs,
    trail: Trail,
) -> SentOut:
    """Send a message to an account, to all admins, or to everybody.

    A message to many is an announcement, which goes out in the background.
    """
    _require_sense(body, addressee)
    given = body.model_dump(mode="json")
    trail.add(audience=body.audience, type=body.type, dedupe_key=body.dedupe_key)
    if body.audience is not Audience.USER:
        job_id = jobs.start(session, KIND, str(body.audience), caller.id, **given)
        trail.add(announcement=job_id)
        return SentOut(notification_id=None, announcement_id=job_id)
    assert addressee.user_id is not None
    trail.add(recipient=addressee.user_id)
    return SentOut(notification_id=_send(session, desk, given, addressee.user_id), announcement_id=None)


def send_internal_notification(
    body: SendNotification,
    addressee: Addressee,
    caller: Caller,
    session: Session,
    desk: Desk,
    jobs: Jobs,
    trail: Trail,
) -> SentOut:
    """Send a message in the name of another service."""
    return send_notification(body, addressee, caller, session, desk, jobs, trail)


def _send(session: Session, desk: Desk, given: dict[str, Any], user_id: str) -> str | None:
    if not keys.use(session, [user_id], given["dedupe_key"]):
        raise Duplicate
    notice = notice_of(given, user_id)
    rows = desk.deliver(session, [notice])
    return rows[0]["id"] if rows else None


def _require_sense(body: SendNotification, addressee: Addressee) -> None:
    """Refuse what the schema cannot express."""
    faults = list[FieldFault]()
    if body.audience is not Audience.USER:
        if body.user_id is not None:
            message = "must be left out, because audience names the recipients"
            faults.append(FieldFault(field="user_id", code="not_wanted", message=message))
    elif body.user_id is None:
        faults.append(FieldFault(field="user_id", code="missing", message="must name an account"))
    elif addressee.user_id is None:
        message = "is not the id of an account"
        faults.append(FieldFault(field="user_id", code="unknown_account", message=message))
    if body.expires is not None and body.expires <= now():
        faults.append(FieldFault(field="expires", code="in_the_past", message="must be in the future"))
    if faults:
        raise Invalid(errors=faults)


def list_announcements(query: PageQuery, session: Session) -> Page[AnnouncementOut]:
    """List messages to many accounts, newest first."""
    return paginate_equal(session, JOBS, {}, query, AnnouncementOut.of)


def show_announcement(announcement_id: Id, session: Session, jobs: Jobs) -> AnnouncementOut:
    """Show a message to many accounts, and how many were told so far."""
    return AnnouncementOut.of(jobs.read(session, announcement_id))


def cancel_announcement(announcement_id: Id, session: Session, jobs: Jobs) -> AnnouncementOut:
    """Tell nobody else. Those who were told keep the message. One that has ended is not changed."""
    jobs.read(session, announcement_id)
    jobs.cancel(session, announcement_id)
    return AnnouncementOut.of(jobs.read(session, announcement_id))
