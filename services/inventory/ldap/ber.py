"""The Basic Encoding Rules of ASN.1, as far as LDAP uses them (RFC 4511, section 5.1)."""

from collections.abc import Iterator

BOOLEAN, INTEGER, OCTETS, ENUMERATED, SEQUENCE, SET = 0x01, 0x02, 0x04, 0x0A, 0x30, 0x31
LENGTH_BYTES_MAX = 4

Element = tuple[int, bytes]  # tag and content


class Malformed(ValueError):
    """The bytes are not a valid encoding."""


def encode(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(size))) + size + content


def integer(value: int, tag: int = INTEGER) -> bytes:
    return encode(tag, value.to_bytes(value.bit_length() // 8 + 1, signed=True))


def boolean(value: bool) -> bytes:
    return encode(BOOLEAN, b"\xff" if value else b"\x00")


def octets(value: str | bytes, tag: int = OCTETS) -> bytes:
    return encode(tag, value.encode() if isinstance(value, str) else value)


def sequence(*parts: bytes, tag: int = SEQUENCE) -> bytes:
    return encode(tag, b"".join(parts))


def length_of(first: int, more: bytes) -> int:
    """Return the length that a first length byte and the bytes after it stand for."""
    return first if first < 0x80 else int.from_bytes(more)


def more_length_bytes(first: int) -> int:
    """Return how many bytes of length follow this one."""
    number = first & 0x7F if first >= 0x80 else 0
    if first == 0x80 or number > LENGTH_BYTES_MAX:
        raise Malformed("unsupported length")
    return number


def elements(content: bytes) -> Iterator[Element]:
    """Yield the elements that this content consists of."""
    place = 0
    while place < len(content):
        if place + 2 > len(content):
            raise Malformed("an element is cut off")
        tag, first = content[place], content[place + 1]
        begin = place + 2 + more_length_bytes(first)
        end = begin + length_of(first, content[place + 2 : begin])
        if end > len(content):
            raise Malformed("an element is cut off")
        yield tag, content[begin:end]
        place = end


def number(content: bytes) -> int:
    if not 0 < len(content) <= 8:
        raise Malformed("not an integer")
    return int.from_bytes(content, signed=True)
