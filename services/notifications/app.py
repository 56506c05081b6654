"""Assembles the notifications service."""

from collections.abc import Iterator
from datetime import timedelta
from functools import partial

import structlog
from starlette.applications import Starlette

from contracts.events import SUBSCRIBERS
from services.notifications.analytics.events import Analytics
from services.notifications.analytics.sender import AnalyticsSender, calls_to_google
from services.notifications.courier import Courier, Pace
from services.notifications.digests import Digests
from services.notifications.duties import duties
from services.notifications.events import consumes
from services.notifications.feed import listening
from services.notifications.mail.attachments import Invoices, Orders
from services.notifications.mail.mailer import MailCarrier, transport_of
from services.notifications.mail.mails import Mails
from services.notifications.mail.provider_events import ProviderEvents
from services.notifications.models import EVENTS, IDEMPOTENCY, WORK
from services.notifications.notices import Desk
from services.notifications.routes import OPERATIONS
from services.notifications.sending.announcements import Announcements
from services.notifications.settings import Settings
from services.notifications.sms.carrier import SmsCarrier, text_transport_of
from services.notifications.sms.messages import TextMessages
from services.notifications.sms.notices import Texts
from services.notifications.sms.phones import Phones
from services.notifications.sms.reports import Reports
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
from shared.work.jobs import Jobs
from shared.work.runner import Runner

log = structlog.get_logger(__name__)


def create_app(settings: Settings) -> Starlette:
    database = Database(settings.database_url, settings.database_pool)
    client, changes = HttpClient(), Changes()
    suppressions = Suppressions(settings)
    mails = Mails(settings, changes, suppressions)
    outbox, secrets = Outbox(settings, changes), Secrets(settings)
    messages = TextMessages(settings, changes, suppressions)
    phones, links = Phones(settings, messages), Links(settings)
    digests = Digests(mails, links, settings)
    desk = Desk(changes, mails, outbox, links, digests, Texts(messages, phones), settings)
    jobs = Jobs(WORK, Announcements(database, desk).kinds)
    orders = Orders.of(settings, client, name="orders", url=settings.orders_url)
    invoices = Invoices(orders, settings.mail_timeout_seconds)
    outbound = calls_to_webhooks(settings)
    sender = WebhookSender(settings, database, outbox, secrets, changes, Health(settings, desk), outbound)
    analytics = Analytics(settings, changes)
    return create_service(
        settings,
        OPERATIONS,
        client=client,
        database=database,
        idempotency=IDEMPOTENCY,
        provide={
            Analytics: analytics,
            Changes: changes,
            Desk: desk,
            Jobs: jobs,
            Links: links,
            Mails: mails,
            Outbox: outbox,
            Outbound: outbound,
            Secrets: secrets,
            Suppressions: suppressions,
            Database: database,
            Phones: phones,
            ProviderEvents: ProviderEvents(settings, mails),
            Reports: Reports(settings, messages),
            TextMessages: messages,
            Peer: Peer.of(settings, client, name="auth", url=settings.auth_url),
        },
        events=Events(EVENTS, consumes(desk, phones, analytics), SUBSCRIBERS),
        beside=[
            listening(changes, database),
            Runner(jobs, database),
            *couriers(settings, database, changes, mails, messages, invoices),
            *measuring(settings, database, analytics, changes),
            sender,
            duties(
                database,
                settings,
                sealed=[mails.sealed, secrets.sealed, phones.sealed],
                queues=[mails.queue, messages.queue, outbox.queue, digests.queue, analytics.queue],
                outbox=outbox,
                digests=digests,
            ),
        ],
        on_start=[partial(warn_without_mails, settings)],
    )


def measuring(
    settings: Settings, database: Database, analytics: Analytics, changes: Changes
) -> Iterator[AnalyticsSender]:
    """Yield what sends events to Google, if they are sent."""
    if analytics.is_on:
        yield AnalyticsSender(settings, database, analytics, changes, calls_to_google(settings))


def couriers(
    settings: Settings,
    database: Database,
    changes: Changes,
    mails: Mails,
    messages: TextMessages,
    invoices: Invoices,
) -> Iterator[Courier]:
    """Yield the couriers of mails and of text messages, if these are sent at all."""
    if settings.transport != "none":
        pace = Pace(settings.mail_workers, settings.mail_timeout_seconds, timedelta(days=settings.mail_days))
        mailer = MailCarrier(settings, database, mails, transport_of(settings), invoices)
        yield Courier(database, mails, changes, mailer, pace)
    if settings.text_transport != "none":
        retry_first = timedelta(seconds=settings.sms_retry_seconds)
        # What waits for quiet hours may be older than a day; each message has an end of its own.
        pace = Pace(settings.sms_workers, 2 * settings.sms_timeout_seconds, timedelta(days=30), retry_first)
        carrier = SmsCarrier(database, messages, text_transport_of(settings))
        yield Courier(database, messages, changes, carrier, pace)


def warn_without_mails(settings: Settings) -> None:
    """Log a warning at startup in production if no mails are sent."""
    if settings.environment == "production" and settings.transport == "none":
        log.warning(
            "mails_are_not_sent",
            reason="SMTP_URL is not set",
            effect="people cannot confirm an e-mail address or reset a forgotten password",
        )
