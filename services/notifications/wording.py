"""The title and the content of notifications, in each language. `notice_texts/` has the texts.

A text is what mail/rendering.py allows. Its first line is the title. Each language has its own plural forms:
a text compares the number, such as `{% if number == '1' %}`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from services.notifications.languages import Language, Value, shown
from services.notifications.mail.rendering import fill
from services.notifications.mail.templates import Text

TEXTS = Path(__file__).parent / "notice_texts"


@dataclass(frozen=True, slots=True)
class Words:
    """A title and a content that someone wrote: the same in every language."""

    title: str
    content: str

    def in_language(self, _: Language) -> "Words":
        return self


@dataclass(frozen=True, slots=True)
class Phrase:
    """A text by its name, with the values that fill it."""

    name: str
    values: Mapping[str, Value] = field(default_factory=dict)

    def in_language(self, language: Language) -> Words:
        """Fill the text; a value that is missing is an error, never an empty place."""
        text = text_of(self.name, language)
        values = {name: shown(value, language) for name, value in self.values.items()}
        title = fill(f"{self.name}: title", text.subject, values)
        return Words(" ".join(title.split()), fill(f"{self.name}: content", text.body, values).strip())


Wording = Words | Phrase


@cache
def text_of(name: str, language: Language) -> Text:
    return Text.read(TEXTS / language / f"{name}.txt")
