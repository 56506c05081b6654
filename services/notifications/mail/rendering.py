"""Fills the text of a mail, as plain text and as HTML.

A text is a small part of Jinja2, in its sandbox: fields, `if`, comparisons, three filters and `button(url,
label)`, and nothing that loops or calls. So rendering always ends, whatever an admin writes. A field that is
missing is an error, never an empty place in a mail. HTML is made from the filled text, so no value can become
markup.
"""

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from services.notifications.languages import Language
from services.notifications.mail.layout import page
from services.notifications.mail.templates import Text

if TYPE_CHECKING:
    from jinja2 import Template, nodes
    from jinja2.sandbox import SandboxedEnvironment

SOURCE_CHARACTERS_MAX = 16 * 1024
RENDERED_CHARACTERS_MAX = 64 * 1024
SUBJECT_CHARACTERS_MAX = 200
COMPILED_MAX = 400  # subject and body of each text, in each language
_ALLOWED = frozenset(
    "Template Output TemplateData Name If Const Compare Operand Not And Or Filter Call Concat".split()
)
_FILTERS = {"upper": str.upper, "lower": str.lower, "title": str.title}
# A button in a filled text: label and URL between control characters, which values cannot contain.
_BEGIN, _BETWEEN, _END = "\x02", "\x1f", "\x03"
_BUTTON = re.compile(f"{_BEGIN}([^{_BETWEEN}]*){_BETWEEN}([^{_END}]*){_END}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_URL = re.compile(r"https?://[^\s\"'<>]{1,2000}")


class TextFault(Exception):
    """The text cannot be filled. The message says why and is meant for admins."""

    def __init__(self, message: str, *, part: str, line: int = 1) -> None:
        self.message, self.part, self.line = message, part, line
        super().__init__(f"{part}, line {line}: {message}")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A mail as its recipient sees it."""

    subject: str
    text: str
    html: str


def render(text: Text, values: Mapping[str, str], language: Language = Language.ENGLISH) -> Rendered:
    """Fill a text; raise TextFault if that is not possible."""
    subject = " ".join(fill("subject", text.subject, values).split())
    if not subject or _CONTROL.search(subject):
        raise TextFault("the subject must not be empty, and cannot contain a button", part="subject")
    subject = subject[:SUBJECT_CHARACTERS_MAX]
    body = fill("body", text.body, values)
    paragraphs = [one.strip("\n") for one in re.split(r"\n[ \t]*\n", body) if one.strip()]
    return Rendered(
        subject,
        "\n\n".join(_as_text(one) for one in paragraphs) + "\n",
        page(subject, "\n".join(_as_html(one) for one in paragraphs), language=language),
    )


def check(text: Text, fields: Mapping[str, str]) -> None:
    """Raise TextFault if this text uses more than is allowed, or cannot be filled with these fields."""
    for part, source in (("subject", text.subject), ("body", text.body)):
        for name, line in _names(part, source):
            if name not in fields and name != "button":
                known = ", ".join(sorted(fields))
                raise TextFault(f"there is no field {name!r}; there are {known}", part=part, line=line)
    render(text, fields)


def _as_text(paragraph: str) -> str:
    return _BUTTON.sub(lambda found: f"{found[1]}:\n{found[2]}", paragraph)


def _as_html(paragraph: str) -> str:
    pieces, end = [], 0
    for found in _BUTTON.finditer(paragraph):
        pieces.append(_escaped(paragraph[end : found.start()]))
        url = html.escape(found[2])
        pieces.append(f'<a class="button" href="{url}">{html.escape(found[1])}</a>')
        end = found.end()
    pieces.append(_escaped(paragraph[end:]))
    return f"<p>{''.join(pieces)}</p>"


def _escaped(text: str) -> str:
    return html.escape(text).replace("\n", "<br>\n")


def _button(url: object, label: object) -> str:
    if _URL.fullmatch(str(url)) is None:
        raise ValueError("a button needs a URL that begins with https:// or http://")
    return f"{_BEGIN}{_CONTROL.sub(' ', str(label))}{_BETWEEN}{url}{_END}"


def fill(part: str, source: str, values: Mapping[str, str]) -> str:
    """Fill one part of a text with values, whose control characters become spaces."""
    clean = {name: _CONTROL.sub(" ", value) for name, value in values.items()}
    try:
        filled = _compiled(part, source).render(clean, button=_button)
    except TextFault:
        raise
    except Exception as error:  # whatever a template raises is a fault of its text
        raise TextFault(f"it cannot be filled: {error}", part=part) from error
    if len(filled) > RENDERED_CHARACTERS_MAX:
        raise TextFault(f"it has more than {RENDERED_CHARACTERS_MAX} characters when filled", part=part)
    return filled


@lru_cache(maxsize=COMPILED_MAX)
def _compiled(part: str, source: str) -> "Template":
    _tree(part, source)
    return _environment().from_string(source)


def _names(part: str, source: str) -> Iterator[tuple[str, int]]:
    from jinja2 import nodes

    for node in _tree(part, source).find_all(nodes.Name):
        yield node.name, node.lineno


def _tree(part: str, source: str) -> "nodes.Template":
    """Return the parsed source; raise TextFault if it is invalid or uses more than is allowed."""
    from jinja2 import TemplateSyntaxError, nodes

    if len(source) > SOURCE_CHARACTERS_MAX:
        raise TextFault(f"it has more than {SOURCE_CHARACTERS_MAX} characters", part=part)
    try:
        tree = _environment().parse(source)
        every = list(tree.find_all(nodes.Node))
    except TemplateSyntaxError as error:
        raise TextFault(str(error.message), part=part, line=error.lineno) from error
    except RecursionError as error:
        raise TextFault("it is nested too deeply", part=part) from error
    for node in every:
        kind = type(node).__name__
        is_call = isinstance(node, nodes.Call)
        if kind not in _ALLOWED or (is_call and not _is_button(node)):
            message = f"only fields, if, {', '.join(_FILTERS)} and button(url, label) are allowed here"
            raise TextFault(message, part=part, line=node.lineno)
    return tree


def _is_button(node: "nodes.Node") -> bool:
    from jinja2 import nodes

    return isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name == "button"


@cache
def _environment() -> "SandboxedEnvironment":
    # Imported late: processes that never send a mail do not need it.
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # Escaping is done afterwards, for HTML alone.
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    environment.globals.clear()
    environment.filters = {**_FILTERS}
    environment.tests = {}
    return environment
