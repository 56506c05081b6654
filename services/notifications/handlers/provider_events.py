"""What providers call: SendGrid and Twilio, about the mails and messages that they accepted."""

from starlette.requests import Request
from starlette.responses import Response

from services.notifications.mail.provider_events import ProviderEvents
from services.notifications.sms.reports import Reports
from shared.data.database import Database
from shared.errors import NotFound
from shared.events import Trail
from shared.http.inputs import read_body

BODY_BYTES_MAX = 1024 * 1024
REPORT_BYTES_MAX = 64 * 1024
_SIGNATURE = "x-twilio-email-event-webhook-signature"
_TIMESTAMP = "x-twilio-email-event-webhook-timestamp"


async def receive_sendgrid_events(
    request: Request, database: Database, events: ProviderEvents, trail: Trail
) -> Response:
    """Note which mails SendGrid accepted and which bounced. This endpoint needs SENDGRID_WEBHOOK_KEY.

    Bounces, spam reports and unsubscriptions suppress their addresses.
    """
    if not events.is_on:
        raise NotFound
    body = await read_body(request, BODY_BYTES_MAX)
    signature, timestamp = request.headers.get(_SIGNATURE, ""), request.headers.get(_TIMESTAMP, "")
    told = events.read(body, signature, timestamp)
    trail.add(**await database.run(events.apply, told))
    return Response(status_code=204)


async def receive_twilio_reports(
    request: Request, database: Database, reports: Reports, trail: Trail
) -> Response:
    """Note whether a text message was delivered. This endpoint needs Twilio and an https `PUBLIC_URL`.

    A number that does not exist is suppressed.
    """
    if not reports.is_on:
        raise NotFound
    body = await read_body(request, REPORT_BYTES_MAX)
    report = reports.read(request.url.query, body, request.headers.get("x-twilio-signature", ""))
    trail.add(**await database.run(reports.apply, report))
    return Response(status_code=204)
