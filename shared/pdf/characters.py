"""Characters that a document cannot show, written as their Unicode numbers in brackets instead.

An archivable PDF must not contain a character without a glyph, so the compiler refuses it. Empty boxes would
hide that something is missing.
"""

import re
import unicodedata
from enum import IntEnum
from typing import Any

REPORTS_PER_STEP = 3
_SHOWN_CONTROLS = "\n\u200b\u200c\u200d"  # line break; zero-width space, non-joiner and joiner
_SPACE = re.compile(r"[^\S\n\u00a0\u202f]")  # other than line breaks and no-break spaces
_LACKING = re.compile(r'the text `"((?:[^"\\]|\\.)+)"` could not be displayed')
_ESCAPED = re.compile(r"\\(?:u\{([0-9a-f]+)\}|(.))", re.DOTALL)
_PLAIN = {"n": "\n", "t": "\t", "r": "\r", "0": "\0"}


class Doubt(IntEnum):
    """Which characters are replaced although they were not reported."""

    NONE = 0
    SAME_BLOCK = 1  # those in the same 256 characters as a reported one
    NOT_EUROPEAN = 2  # all but Latin, Greek and Cyrillic
    NOT_ASCII = 3


class Spelling:
    """Replaces characters in the data of one document, and remembers which."""

    def __init__(self) -> None:
        self._lacking: set[str] = set()  # no font has these
        self._blocks: set[int] = set()
        self._reports = 0
        self._doubt = Doubt.NONE
        self._replaced: set[str] = set()

    @property
    def numbers(self) -> list[str]:
        """The numbers of the characters that were replaced."""
        return sorted(map(number_of, self._replaced))

    def of(self, value: Any) -> Any:
        """Return the data with these characters replaced in all its texts."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return {key: self.of(one) for key, one in value.items()}
        return [self.of(one) for one in value] if isinstance(value, list) else value

    def learn(self, diagnostic: str) -> bool:
        """Note the characters that the compiler could not display; return whether there are any.

        It reports combining characters one by one, so the doubt grows with the number of reports.
        """
        found = {character for text in _LACKING.findall(diagnostic) for character in _unescaped(text)}
        found = {one for one in found if not one.isspace()}
        if not found:
            return False
        self._lacking |= found
        self._blocks |= {ord(one) >> 8 for one in found}
        self._reports += 1
        return self._reports % REPORTS_PER_STEP != 0 or self.doubt_more()

    def doubt_more(self) -> bool:
        """Replace more characters from now on; return False if only ASCII was left."""
        if self._doubt is Doubt.NOT_ASCII:
            return False
        self._doubt = Doubt(self._doubt + 1)
        return True

    def _text(self, text: str) -> str:
        if text.isascii() and text.isprintable():
            return text
        text = _SPACE.sub(" ", unicodedata.normalize("NFC", text.replace("\r\n", "\n")))
        return "".join(map(self._character, text))

    def _character(self, character: str) -> str:
        if not _is_control(character) and not self._is_lacking(character):
            return character
        self._replaced.add(character)
        return f"[{number_of(character)}]"

    def _is_lacking(self, character: str) -> bool:
        number = ord(character)
        if character.isascii() or character.isspace():
            return False
        return (
            character in self._lacking
            or (self._doubt >= Doubt.SAME_BLOCK and number >> 8 in self._blocks)
            or (self._doubt >= Doubt.NOT_EUROPEAN and not (number < 0x530 or 0x1E00 <= number < 0x2100))
            or self._doubt >= Doubt.NOT_ASCII
        )


def number_of(character: str) -> str:
    return f"U+{ord(character):04X}"


def _is_control(character: str) -> bool:
    """Whether it is a control, a direction mark, a private or an unassigned character."""
    return unicodedata.category(character)[0] == "C" and character not in _SHOWN_CONTROLS


def _unescaped(text: str) -> str:
    """Return a text that the compiler has written between quotation marks."""
    return _ESCAPED.sub(lambda one: chr(int(one[1], 16)) if one[1] else _PLAIN.get(one[2], one[2]), text)
