"""Mails to people: an event for the service that sends them."""

from enum import StrEnum

import structlog
from sqlmodel import Session

from contracts.events import MailRequested
from contracts.links import seal_link
from services.auth.mails.links import Link
from services.auth.settings import Settings
from shared.clock import now
from shared.events import emit
from shared.ids import new_id

log = structlog.get_logger(__name__)


class Template(StrEnum):
    """The kinds of mails. The service that sends them has a text for each."""

    VERIFY_EMAIL = "verify_email"
    CONFIRM_REGISTRATION = "confirm_registration"
    REGISTERED_ALREADY = "registered_already"
    INVITATION = "invitation"
    CHANGE_EMAIL = "change_email"
    EMAIL_TAKEN = "email_taken"
    EMAIL_CHANGED = "email_changed"
    FACTOR_ADDED = "factor_added"
    FACTOR_REMOVED = "factor_removed"
    EXPORT_READY = "export_ready"
    IMPERSONATED = "impersonated"
    PROVIDER_CONNECTED = "provider_connected"
    PROVIDER_DISCONNECTED = "provider_disconnected"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - the name of an e-mail
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - the name of an e-mail


class Mails:
    """Asks for mails within a transaction: none is sent if it does not commit."""

    def __init__(self, settings: Settings) -> None:
        self.origin = settings.link_origin
        self._secrets = settings.internal_secrets

    def send(
        self,
        session: Session,
        template: Template,
        email: str | None,
        *,
        account_id: str | None = None,
        link: Link | None = None,
        **values: str,
    ) -> None:
        """Send one mail; do nothing without an address."""
        if email is None or not self.origin:
            return
        mail_id = new_id()
        emit(
            session,
            MailRequested(
                mail_id=mail_id,
                template=template,
                email=email,
                account_id=account_id,
                link=None if link is None else seal_link(self._secrets, mail_id, link.url),
                expires=None if link is None else link.expires,
                values={**values, "email": email, "origin": self.origin},
                created=now(),
            ),
        )


def warn_without_origin(settings: Settings) -> None:
    """Log a warning at startup in production if no mails can be made."""
    if settings.environment == "production" and not settings.link_origin:
        log.warning(
            "mails_are_off",
            reason="OAUTH_ISSUER and PUBLIC_URL are not set, so links in mails would have no origin",
            effect="people cannot confirm an e-mail address or reset a forgotten password",
        )
