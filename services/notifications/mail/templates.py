"""The mails that this service sends: when, and with which fields.

`standard_texts/` has their texts, by language.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Self

from services.notifications.languages import Language

NOTICE = "notice"
INVOICE = "invoice"
TICKET = "ticket"
DIGEST = "digest"
TEST = "test"
VERSION_CHARACTERS = 12

_TEXTS = Path(__file__).parent / "standard_texts"
_ACCOUNT = ("email", "origin")
_LINK = (*_ACCOUNT, "link", "expires")
_SAMPLES: Mapping[Language, Mapping[str, str]] = {
    Language.ENGLISH: {
        "email": "ann@example.com",
        "origin": "https://api.example.com",
        "link": "https://api.example.com/auth/confirm?token=Zm9yIHRoZSBwcmV2aWV3IG9ubHk",
        "expires": "31 January 2026, 12:00 UTC",
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
    },
    Language.GERMAN: {
        "expires": "31. Januar 2026, 12:00 UTC",
        "factor": "Authenticator-App",
        "title": "Ihre Bestellung ist unterwegs",
        "content": "Laptop, Menge 1: bestätigt → versandt.",
        "list": "Ihre Bestellung ist eingegangen\nSie haben bestellt: Laptop, Menge 1.\n\n"
        "Ihre Bestellung ist unterwegs\nLaptop, Menge 1: bestätigt → versandt.",
        "subject": "Ein Test",
        "body": "Diese E-Mail zeigt, dass E-Mails ankommen.",
    },
}


@dataclass(frozen=True, slots=True)
class Text:
    """A subject and a body. Blank lines separate paragraphs; rendering.py says what else is allowed."""

    subject: str
    body: str

    @property
    def version(self) -> str:
        """Name the version: it differs whenever the text does, and is the same in every process."""
        return hashlib.sha256(f"{self.subject}\n{self.body}".encode()).hexdigest()[:VERSION_CHARACTERS]

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a text from a file, whose first line is the subject."""
        subject, _, body = file.read_text(encoding="utf-8").partition("\n")
        return cls(subject, body.strip("\n"))


@dataclass(frozen=True, slots=True)
class Template:
    """When a mail is sent, and the fields that its text may use.

    `is_security` mails reach the owner of an account even if the owner complained about other mails.
    """

    description: str
    fields: tuple[str, ...]
    own_sample: Mapping[Language, Mapping[str, str]] | None = None  # where the usual one does not fit
    is_security: bool = False

    @property
    def sample(self) -> dict[str, str]:
        return self.sample_in(Language.ENGLISH)

    def sample_in(self, language: Language) -> dict[str, str]:
        """Return values for a preview."""
        samples = {
            **_SAMPLES[Language.ENGLISH],
            **_SAMPLES[language],
            **(self.own_sample or {}).get(language, {}),
        }
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
                Language.ENGLISH: {
                    "title": "Your invoice was issued",
                    "content": "The invoice INV-2026-000042 for 99.99 USD can be read as a PDF with your "
                    "order.",
                },
                Language.GERMAN: {
                    "title": "Ihre Rechnung wurde ausgestellt",
                    "content": "Die Rechnung INV-2026-000042 über 99,99 USD steht bei Ihrer Bestellung als "
                    "PDF bereit.",
                },
            },
        ),
        TICKET: Template(
            "A notification about a support ticket also reaches its recipient by e-mail.",
            ("title", "content", "origin", "url"),
            {
                Language.ENGLISH: {
                    "title": "Support replied to your ticket 2026-000042",
                    "content": "Read the reply and answer there.",
                },
                Language.GERMAN: {
                    "title": "Der Support hat auf Ihr Ticket 2026-000042 geantwortet",
                    "content": "Lesen und beantworten Sie die Nachricht dort.",
                },
            },
        ),
        DIGEST: Template(
            "Several notifications in one mail, for those who chose that.",
            ("title", "list", "origin"),
            {
                Language.ENGLISH: {"title": "2 notifications"},
                Language.GERMAN: {"title": "2 Benachrichtigungen"},
            },
        ),
        TEST: Template("An admin checks whether mails arrive.", ("subject", "body")),
    }
)


SECURITY = frozenset(name for name, template in TEMPLATES.items() if template.is_security)


@cache
def built_in(name: str, language: Language = Language.ENGLISH) -> Text:
    """Return the built-in text of a template."""
    return Text.read(_TEXTS / language / f"{name}.txt")
