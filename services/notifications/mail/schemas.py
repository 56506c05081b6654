"""The request and response bodies of deliveries and templates."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field

from services.notifications.deliveries import State
from services.notifications.languages import Language
from services.notifications.mail.rendering import SOURCE_CHARACTERS_MAX
from services.notifications.mail.templates import TEMPLATES, Text, built_in
from shared.http.schemas import Id, Input, Output, Query, example
from shared.http.schemas import Text as Words
from shared.lists.pagination import PageQuery

VALUE_CHARACTERS_MAX = 4_000
NAME_CHARACTERS_MAX = 50

TemplateName = Annotated[str, Field(max_length=NAME_CHARACTERS_MAX)]
Subject = Annotated[Words, Field(max_length=1_000)]
Body = Annotated[Words, Field(max_length=SOURCE_CHARACTERS_MAX)]
Email = Annotated[Words, Field(max_length=320)]


class ListDeliveries(PageQuery):
    state: State | None = Field(default=None, description="Only deliveries in this state.")
    user_id: Id | None = Field(default=None, description="Only deliveries to this account.")


class DeliveryOut(Output):
    """A mail or text message. Its address and content are sealed until it is sent, and then deleted.

    A mail keeps the text that its template had when it was queued; `text_version` says which one.
    """

    model_config = example(
        {
            "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "user_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "channel": "email",
            "template": "reset_password",
            "state": "failed",
            "language": "en",
            "text_version": "0f3a9c5b71d2",
            "attempts": 1,
            "code": "no_such_address",
            "error": "550 5.1.1 user unknown",
            "expires": "2026-01-31T12:30:00Z",
            "created": "2026-01-31T12:00:00Z",
            "finished": "2026-01-31T12:00:01Z",
        }
    )

    id: str
    user_id: str | None
    channel: str
    template: str
    state: str
    language: str | None
    text_version: str | None
    attempts: int
    code: str | None
    error: str | None
    expires: datetime | None
    created: datetime
    finished: datetime | None


class AttemptOut(Output):
    """One attempt. Without `finished` it is in progress, or its process died."""

    number: int
    started: datetime
    finished: datetime | None
    outcome: str | None
    code: str | None
    error: str | None


class DeliveryDetail(DeliveryOut):
    """A delivery with its attempts, oldest first."""

    made: list[AttemptOut]


class TestEmail(Input):
    """A mail to check whether mails arrive."""

    __test__ = False  # pytest would take it for a test

    model_config = example({"to": "ann@example.com", "subject": "A test", "body": "It arrived."})

    to: Email
    subject: Annotated[Words, Field(max_length=200)]
    body: Annotated[Words, Field(max_length=VALUE_CHARACTERS_MAX)]


class QueuedOut(Output):
    """A mail or text message that was accepted for delivery."""

    model_config = example({"delivery_id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a", "state": "queued"})

    delivery_id: str
    state: str


class OfLanguage(Query):
    language: Language = Field(default=Language.ENGLISH, description="The language of the text.")


class ChangeTemplate(Input):
    """A subject and a body. Blank lines separate paragraphs; `{{ field }}` is replaced by its value."""

    model_config = example(
        {
            "subject": "Your password was changed",
            "body": "The password of {{ email }} was changed.\n\n{{ button(origin, 'Open Gatehouse') }}",
        }
    )

    subject: Subject
    body: Body

    @property
    def text(self) -> Text:
        return Text(self.subject, self.body)


class PreviewTemplate(Input):
    """What to show: by default the text that is used now, filled with the sample."""

    model_config = example({"values": {"email": "ben@example.com"}})

    subject: Subject | None = None
    body: Body | None = None
    values: Annotated[
        dict[Annotated[str, Field(max_length=50)], Annotated[str, Field(max_length=VALUE_CHARACTERS_MAX)]],
        Field(default_factory=dict, max_length=20),
    ]


class PreviewOut(Output):
    """The filled mail."""

    subject: str
    text: str
    html: str


class TemplateOut(Output):
    """A template: when its mail is sent, its text, and its fields as a JSON schema and with a sample.

    `version` counts the changes by admins; `text_version` is that of deliveries with this text.
    """

    name: str
    language: str
    description: str
    subject: str
    body: str
    is_changed: bool
    version: int
    text_version: str
    updated: datetime | None
    fields: dict[str, Any]
    sample: dict[str, str]

    @classmethod
    def of(cls, name: str, language: Language, row: Mapping[str, Any] | None) -> Self:
        """Build from the row of a changed text, if there is one."""
        template = TEMPLATES[name]
        text = built_in(name, language) if row is None else Text(row["subject"], row["body"])
        return cls(
            name=name,
            language=language,
            description=template.description,
            subject=text.subject,
            body=text.body,
            is_changed=row is not None,
            version=0 if row is None else row["version"],
            text_version=text.version,
            updated=None if row is None else row["updated"],
            fields={
                "type": "object",
                "properties": {field: {"type": "string"} for field in template.fields},
                "required": list(template.fields),
            },
            sample=template.sample_in(language),
        )
