"""Search filters as text (RFC 4515), encoded for a request."""

import re

from services.inventory.ldap.ber import octets, sequence

AND, OR, NOT, EQUALS, SUBSTRINGS, AT_LEAST, AT_MOST, PRESENT, ALIKE = (
    *(0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6),
    *(0x87, 0xA8),
)
INITIAL, ANY, FINAL = 0x80, 0x81, 0x82
DEPTH_MAX = 10
USERNAME = "{username}"
_ITEM = re.compile(r"([A-Za-z0-9.;-]{1,100})(=|>=|<=|~=)([^()]*)")
_ESCAPE = re.compile(rb"\\([0-9A-Fa-f]{2})")
_KINDS = {">=": AT_LEAST, "<=": AT_MOST, "~=": ALIKE}


class BadFilter(ValueError):
    """The text is not a supported filter; the message says what is wrong."""


def attribute_of(text: str) -> str:
    """Return the attribute that the filter compares with the user's name."""
    found = re.search(rf"\(([A-Za-z0-9.;-]+)={re.escape(USERNAME)}\)", text)
    if found is None:
        raise BadFilter(f"must compare an attribute with {USERNAME}, as in (uid={USERNAME})")
    return found[1]


def encoded_for_all(text: str) -> bytes:
    """Encode the filter for all users: the attribute of the name must only be present."""
    attribute_of(text)
    return encoded(text.replace(USERNAME, "*"))


def encoded(text: str) -> bytes:
    content, rest = _filter(text.strip(), 0)
    if rest:
        raise BadFilter(f"has something after its end: {rest[:20]}")
    return content


def _filter(text: str, depth: int) -> tuple[bytes, str]:
    """Encode the filter at the beginning of the text; return it and the rest of the text."""
    if depth > DEPTH_MAX:
        raise BadFilter("is nested too deeply")
    if not text.startswith("("):
        raise BadFilter("must be in parentheses, as in (uid={username})")
    kind = text[1:2]
    if kind in ("&", "|"):
        parts, rest = list[bytes](), text[2:]
        while rest.startswith("("):
            part, rest = _filter(rest, depth + 1)
            parts.append(part)
        found = sequence(*parts, tag=AND if kind == "&" else OR)
    elif kind == "!":
        part, rest = _filter(text[2:], depth + 1)
        found = sequence(part, tag=NOT)
    else:
        item, bracket, rest = text[1:].partition(")")
        found, rest = _item(item), bracket + rest
    if not rest.startswith(")"):
        raise BadFilter("has a parenthesis that is not closed")
    return found, rest[1:]


def _item(text: str) -> bytes:
    found = _ITEM.fullmatch(text)
    if found is None:
        raise BadFilter(f"has a part that is not supported: {text[:40]}")
    attribute, sign, value = found.groups()
    if sign != "=":
        return sequence(octets(attribute), octets(_value(value)), tag=_KINDS[sign])
    if value == "*":
        return octets(attribute, PRESENT)
    if "*" in value:
        return sequence(octets(attribute), sequence(*_pieces(value.split("*"))), tag=SUBSTRINGS)
    return sequence(octets(attribute), octets(_value(value)), tag=EQUALS)


def _pieces(pieces: list[str]) -> list[bytes]:
    last = len(pieces) - 1
    tags = [INITIAL if place == 0 else FINAL if place == last else ANY for place in range(len(pieces))]
    return [octets(_value(piece), tag) for piece, tag in zip(pieces, tags, strict=True) if piece]


def _value(text: str) -> bytes:
    return _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()), text.encode())
