"""The settings of the notifications service."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import NoDecode

from services.notifications.languages import Language
from services.notifications.mail.addresses import BadAddress, read_address
from services.notifications.mail.keys import sendgrid_key
from shared.data.sealed import SealingSettings
from shared.peers.outbound import OutboundSettings

Transport = Literal["file", "smtp", "sendgrid", "none"]
TextTransport = Literal["file", "twilio", "none"]
NUMBER = r"^\+[1-9][0-9]{6,14}$"
_PREFIX = re.compile(r"\+[1-9][0-9]{0,6}")
_OUTSIDE = re.compile(r"https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?")
_SMTP_URL = re.compile(r"smtps?://([^\s/@]+@)?[A-Za-z0-9._-]+(:[0-9]{1,5})?/?")
_TICKET_ID = "{ticket_id}"
_TICKET_URL = re.compile(r"https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?/[A-Za-z0-9._~/?=&#%{}-]*")
_PORTS = {"smtp": 587, "smtps": 465}
EVENT_WAIT_SECONDS = 600.0
TWILIO_REPORTS = "/notifications/webhooks/twilio"
_LOOPBACK = ("localhost", "127.0.0.1")


def _prefixes(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found = tuple(part.strip() for part in value.split(",") if part.strip())
    if any(_PREFIX.fullmatch(one) is None for one in found):
        raise ValueError("must be prefixes of countries such as +49,+43")
    return found


Prefixes = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_prefixes)]


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mails are submitted; `is_tls` says that the connection begins with TLS."""

    host: str
    port: int
    user: str | None
    password: str | None
    is_tls: bool

    @property
    def needs_tls(self) -> bool:
        """Whether mails may leave only over TLS: everywhere except on this machine."""
        return self.host not in _LOOPBACK


class Settings(SealingSettings, OutboundSettings):
    service: ClassVar[str] = "notifications"

    port: int = Field(default=8088, ge=1, le=65535)
    notification_language: Language = Language.ENGLISH
    notification_days: int = Field(default=90, ge=1, le=3650)
    orders_url: str = "http://127.0.0.1:8082"
    smtp_url: SecretStr = SecretStr("")
    sendgrid_api_key: SecretStr = SecretStr("")
    sendgrid_url: str = "https://api.sendgrid.com"
    sendgrid_webhook_key: str = ""
    mail_transport: Literal["auto", "file", "smtp", "sendgrid", "none"] = "auto"
    mail_from: str = "no-reply@gatehouse.invalid"
    mail_from_name: str = Field(default="Gatehouse", max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")
    mail_reply_to: str = ""
    ticket_url: str = ""
    mail_workers: int = Field(default=4, ge=1, le=50)
    mail_timeout_seconds: float = Field(default=10.0, ge=0.1, le=60)
    mail_per_address_daily: int = Field(default=50, ge=1, le=10_000)
    mail_days: float = Field(default=3.0, gt=0, le=30)
    sms_transport: Literal["auto", "file", "twilio", "none"] = "auto"
    twilio_account_sid: str = Field(default="", pattern=r"^([A-Za-z0-9]{1,64})?$")
    twilio_auth_token: SecretStr = SecretStr("")
    twilio_from_number: str = Field(default="", pattern=r"^(\+[1-9][0-9]{6,14}|[A-Za-z0-9 ]{1,11})?$")
    twilio_url: str = "https://api.twilio.com"
    sms_workers: int = Field(default=4, ge=1, le=8)
    sms_timeout_seconds: float = Field(default=10.0, ge=0.1, le=60)
    sms_retry_seconds: float = Field(default=30.0, ge=0.01, le=3600)
    sms_daily_max: int = Field(default=100, ge=0, le=1_000_000)
    sms_per_number_daily: int = Field(default=5, ge=1, le=10_000)
    sms_prefixes: Prefixes = ()
    webhook_timeout_seconds: float = Field(default=10.0, ge=0.1, le=60)
    webhook_retry_seconds: float = Field(default=5.0, ge=0.01, le=3600)
    webhook_disable_days: float = Field(default=5.0, gt=0, le=90)

    ga4_enabled: bool = False
    ga4_debug: bool = False
    ga4_measurement_id: str = Field(default="", pattern=r"^(G-[A-Z0-9]{4,20})?$")
    ga4_api_secret: SecretStr = SecretStr("")
    ga4_url: str = Field(default="https://www.google-analytics.com", pattern=r"^https?://[^\s/?#@]+/?$")
    analytics_timeout_seconds: float = Field(default=10.0, ge=0.1, le=60)

    @field_validator("smtp_url")
    @classmethod
    def _an_smtp_url(cls, url: SecretStr) -> SecretStr:
        value = url.get_secret_value()
        if value and _SMTP_URL.fullmatch(value) is None:
            raise ValueError("must be smtp://user:password@host:587 or smtps://user:password@host:465")
        return url

    @field_validator("mail_transport")
    @classmethod
    def _usable(cls, transport: str, info: ValidationInfo) -> str:
        if transport == "file" and info.data.get("environment") == "production":
            raise ValueError("must not be file in production, because mails contain links that give access")
        if transport == "smtp" and not info.data.get("smtp_url"):
            raise ValueError("needs SMTP_URL")
        if transport == "sendgrid" and not info.data.get("sendgrid_api_key"):
            raise ValueError("needs SENDGRID_API_KEY")
        return transport

    @field_validator("ticket_url")
    @classmethod
    def _of_a_page(cls, url: str, info: ValidationInfo) -> str:
        """Return the URL of the page that shows a ticket, with its id left open."""
        if url and (_TICKET_URL.fullmatch(url) is None or url.count(_TICKET_ID) != 1):
            raise ValueError("must be a URL like https://app.example.com/tickets/{ticket_id}")
        if url.startswith("http://") and info.data.get("environment") == "production":
            raise ValueError("must begin with https:// in production")
        return url

    @field_validator("mail_from", "mail_reply_to")
    @classmethod
    def _an_address(cls, address: str) -> str:
        if address:
            try:
                read_address(address)
            except BadAddress as error:
                raise ValueError(str(error)) from error
        return address

    @field_validator("mail_from")
    @classmethod
    def _of_the_sender(cls, address: str, info: ValidationInfo) -> str:
        sends = info.data.get("smtp_url") or info.data.get("sendgrid_api_key")
        if not address or (sends and address.endswith(".invalid")):
            raise ValueError(
                "must be set together with SMTP_URL or SENDGRID_API_KEY, to an address that may send there"
            )
        return address

    @field_validator("sms_transport")
    @classmethod
    def _usable_for_texts(cls, transport: str, info: ValidationInfo) -> str:
        if transport == "file" and info.data.get("environment") == "production":
            raise ValueError("must not be file in production, because messages contain codes")
        return transport

    @field_validator("twilio_url", "sendgrid_url")
    @classmethod
    def _of_a_provider(cls, url: str) -> str:
        if _OUTSIDE.fullmatch(url) is None:
            raise ValueError("must be an origin such as https://api.example.com")
        return url

    @field_validator("sendgrid_webhook_key")
    @classmethod
    def _a_verification_key(cls, key: str) -> str:
        if key:
            sendgrid_key(key)
        return key

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """Refuse half an account at Twilio: it would be noticed only when nothing arrives."""
        secret = self.twilio_auth_token.get_secret_value()
        given = [bool(one) for one in (self.twilio_account_sid, secret, self.twilio_from_number)]
        if any(given) != all(given) or (self.sms_transport == "twilio" and not all(given)):
            raise ValueError(
                "TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and TWILIO_FROM_NUMBER must be set together"
            )
        return self

    @property
    def text_transport(self) -> TextTransport:
        """How text messages leave: by Twilio if its account is set, else in development into files."""
        if self.sms_transport != "auto":
            return self.sms_transport
        if self.twilio_account_sid:
            return "twilio"
        return "file" if self.environment == "development" else "none"

    @property
    def has_analytics(self) -> bool:
        """Whether events of those who agree are sent to GA4."""
        return self.ga4_enabled and bool(self.ga4_measurement_id and self.ga4_api_secret)

    @property
    def transport(self) -> Transport:
        """How mails leave: by SMTP if a server is set, else in development into files."""
        if self.mail_transport != "auto":
            return self.mail_transport
        if self.smtp_url:
            return "smtp"
        if self.sendgrid_api_key:
            return "sendgrid"
        return "file" if self.environment == "development" else "none"

    @property
    def mailbox(self) -> Path | None:
        """The folder that stands for a mail server in development; None if mails are sent elsewhere."""
        return self.data_dir / "mail" if self.transport == "file" else None

    @property
    def event_wait_seconds(self) -> float:
        """How long to wait for the event that a mail was accepted; 0 if the provider sends none."""
        is_told = self.transport == "sendgrid" and self.sendgrid_webhook_key
        return EVENT_WAIT_SECONDS if is_told else 0.0

    @property
    def smtp_server(self) -> SmtpServer:
        parts = urlsplit(self.smtp_url.get_secret_value())
        return SmtpServer(
            host=str(parts.hostname),
            port=parts.port or _PORTS[parts.scheme],
            user=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            is_tls=parts.scheme == "smtps",
        )

    @property
    def origin(self) -> str:
        """The origin of links in mails, never taken from a request."""
        return self.public_url or self.oauth_issuer

    @property
    def twilio_reports_url(self) -> str:
        """Where Twilio reports what became of text messages; empty if it cannot reach this."""
        is_reachable = self.text_transport == "twilio" and self.origin.startswith("https://")
        return f"{self.origin}{TWILIO_REPORTS}" if is_reachable else ""

    def ticket_page(self, ticket_id: str) -> str:
        """Return where a person reads and answers a ticket; empty if links have no origin."""
        pattern = self.ticket_url or (f"{self.origin}/tickets/{_TICKET_ID}" if self.origin else "")
        return pattern.replace(_TICKET_ID, ticket_id)
