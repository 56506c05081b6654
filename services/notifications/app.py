"""Assembles the notifications service."""

from functools import partial

import structlog
from starlette.applications import Starlette

from contracts.events import SUBSCRIBERS
from services.notifications.digests import Digests
from services.notifications.duties import duties
from services.notifications.events import consumes
from services.notifications.feed import listening
from services.notifications.mail.attachments import Invoices, Orders
from services.notifications.mail.mailer import Mailer
from services.notifications.mail.mails import Mails
from services.notifications.mail.transports import transport_of
from services.notifications.models import EVENTS, IDEMPOTENCY
from services.notifications.notices import Desk
from services.notifications.routes import OPERATIONS
from services.notifications.settings import Settings
from services.notifications.suppressions import Suppressions
from services.notifications.unsubscribing import Links
from services.notifications.webhooks.outbox import Outbox
from services.notifications.webhooks.outcomes import Health
from services.notifications.webhooks.sender import WebhookSender, calls_to_webhooks
from services.notifications.webhooks.subscriptions import Secrets
from shared.data.database import Database
from shared.events import Events
from shared.peers.client import HttpClient, Peer
from shared.peers.outbound import Outbound
from shared.service import create_service
from shared.work.changes import Changes

log = structlog.get_logger(__name__)


def create_app(settings: Settings) -> Starlette:
    database = Database(settings.database_url, settings.database_pool)
    client, changes = HttpClient(), Changes()
    suppressions = Suppressions(settings)
    mails = Mails(settings, changes, suppressions)
    outbox, secrets = Outbox(settings, changes), Secrets(settings)
    links = Links(settings)
    digests = Digests(mails, links, settings.origin)
    desk = Desk(changes, mails, outbox, links, digests, settings.origin, settings.ticket_page)
    outbound = calls_to_webhooks(settings)
    sender = WebhookSender(settings, database, outbox, secrets, changes, Health(settings, desk), outbound)
    sends = settings.transport != "none"
    invoices = Invoices(
        Orders.of(settings, client, name="orders", url=settings.orders_url), settings.mail_timeout_seconds
    )
    mailer = [Mailer(settings, database, mails, changes, transport_of(settings), invoices)] if sends else []
    return create_service(
        settings,
        OPERATIONS,
        client=client,
        database=database,
        idempotency=IDEMPOTENCY,
        provide={
            Changes: changes,
            Desk: desk,
            Links: links,
            Mails: mails,
            Outbox: outbox,
            Outbound: outbound,
            Secrets: secrets,
            Suppressions: suppressions,
            Peer: Peer.of(settings, client, name="auth", url=settings.auth_url),
        },
        events=Events(EVENTS, consumes(desk), SUBSCRIBERS),
        beside=[
            listening(changes, database),
            *mailer,
            sender,
            duties(database, settings, mails, outbox, secrets, digests),
        ],
        on_start=[partial(warn_without_mails, settings)],
    )


def warn_without_mails(settings: Settings) -> None:
    """Log a warning at startup in production if no mails are sent."""
    if settings.environment == "production" and settings.transport == "none":
        log.warning(
            "mails_are_not_sent",
            reason="SMTP_URL is not set",
            effect="people cannot confirm an e-mail address or reset a forgotten password",
        )
