"""The mails that this service sends: when, and with which fields. `standard_texts/` has their texts."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

NOTICE = "notice"
INVOICE = "invoice"
TICKET = "ticket"
DIGEST = "digest"
TEST = "test"

_TEXTS = Path(__file__).parent / "standard_texts"
_ACCOUNT = ("email", "origin")
_LINK = (*_ACCOUNT, "link", "expires")
_SAMPLES = {
    "email": "ann@example.com",
    "origin": "https://api.example.com",
    "link": "https://api.example.com/auth/confirm?token=Zm9yIHRoZSBwcmV2aWV3IG9ubHk",
    "expires": "2026-01-31 12:00 UTC",
    "factor": "authenticator app",
    "provider": "Google",
    "admin": "admin",
    "minutes": "15",
    "title": "Your order is on its way",
    "content": "Laptop, quantity 1: confirmed → shipped.",
    "url": "https://api.example.com/tickets/0198c0de-5f00-7a10-8000-3f2b8c1de04b",
    "list": "Your order was placed\nYou ordered Laptop, quantity 1.\n\n"
    "Your order is on its way\nLaptop, quantity 1: confirmed → shipped.",
    "subject": "A test",
    "body": "This mail shows that mails arrive.",
}


@dataclass(frozen=True, slots=True)
class Text:
    """A subject and a body. Blank lines separate paragraphs; rendering.py says what else is allowed."""

    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class Template:
    """When a mail is sent, and the fields that its text may use.

    `is_security` mails reach the owner of an account even if the owner complained about other mails.
    """

    description: str
    fields: tuple[str, ...]
    own_sample: Mapping[str, str] | None = None  # for the preview, where the usual one does not fit
    is_security: bool = False

    @property
    def sample(self) -> dict[str, str]:
        samples = {**_SAMPLES, **(self.own_sample or {})}
        return {name: samples[name] for name in self.fields}


TEMPLATES: Mapping[str, Template] = MappingProxyType(
    {
        "verify_email": Template("Someone registered with this address, or asked to confirm it.", _LINK),
        "confirm_registration": Template(
            "Someone registers with this address; the account is created once it is confirmed.", _LINK
        ),
        "registered_already": Template("Someone tried to register with the address of an account.", _ACCOUNT),
        "invitation": Template("An admin invited this address.", _LINK),
        "change_email": Template("Someone wants to use this address for their account.", _LINK),
        "email_taken": Template(
            "Someone wants to use the address of an account for another account.", _ACCOUNT
        ),
        "email_changed": Template(
            "The account has another address now; this goes to the old one.", _ACCOUNT, is_security=True
        ),
        "factor_added": Template("A second factor was added.", (*_ACCOUNT, "factor"), is_security=True),
        "factor_removed": Template("A second factor was removed.", (*_ACCOUNT, "factor"), is_security=True),
        "provider_connected": Template(
            "An identity provider was connected.", (*_ACCOUNT, "provider"), is_security=True
        ),
        "provider_disconnected": Template(
            "An identity provider was disconnected.", (*_ACCOUNT, "provider"), is_security=True
        ),
        "export_ready": Template("A data export is ready.", _ACCOUNT),
        "impersonated": Template(
            "An admin began to act as this account.", (*_ACCOUNT, "admin", "minutes"), is_security=True
        ),
        "reset_password": Template("Someone forgot their password.", _LINK, is_security=True),
        "password_changed": Template("The password was changed.", _ACCOUNT, is_security=True),
        NOTICE: Template(
            "A notification also reaches its recipient by e-mail.", ("title", "content", "origin")
        ),
        INVOICE: Template(
            "An invoice or a credit note was issued; the mail contains it as a PDF.",
            ("title", "content", "origin"),
            {
                "title": "Your invoice was issued",
                "content": "The invoice INV-2026-000042 for 99.99 USD can be read as a PDF with your order.",
            },
        ),
        TICKET: Template(
            "A notification about a support ticket also reaches its recipient by e-mail.",
            ("title", "content", "origin", "url"),
            {
                "title": "Support replied to your ticket 2026-000042",
                "content": "Read the reply and answer there.",
            },
        ),
        DIGEST: Template(
            "Several notifications in one mail, for those who chose that.",
            ("title", "list", "origin"),
            {"title": "2 notifications"},
        ),
        TEST: Template("An admin checks whether mails arrive.", ("subject", "body")),
    }
)


SECURITY = frozenset(name for name, template in TEMPLATES.items() if template.is_security)


@cache
def built_in(name: str) -> Text:
    """Return the built-in text of a template: the first line of its file is the subject."""
    subject, _, body = (_TEXTS / f"{name}.txt").read_text(encoding="utf-8").partition("\n")
    return Text(subject, body.strip("\n"))
