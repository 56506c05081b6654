"""What a proof is made of: canonical JSON, hashes of records, the tree, keys and signed checkpoints.

Together with verifier.py this is what an auditor carries away: it needs Python 3.11 and `cryptography`.
"""

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring as quoted
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

FORMAT = 1
INTEGER_MAX = 2**53 - 1  # beyond it JSON readers disagree on what a number is (RFC 8785, I-JSON)
ED25519 = b"\x01"


class NotAnExport(Exception):
    """What was given cannot be checked at all."""


# Canonical JSON (RFC 8785), so that equal records have equal bytes wherever they are written.


def canonical(value: Any) -> str:
    """The one spelling of a JSON value; ValueError for what has none."""
    if isinstance(value, str):
        return quoted(value)
    if value is None or isinstance(value, bool):
        return _CONSTANTS[value]
    if isinstance(value, int | float):
        return _integer(value) if isinstance(value, int) else _number(value)
    if isinstance(value, Mapping):
        members = (f"{quoted(name)}:{canonical(value[name])}" for name in _in_order(value))
        return f"{{{','.join(members)}}}"
    return f"[{','.join(map(canonical, value))}]"


_CONSTANTS = {None: "null", True: "true", False: "false"}


def _integer(value: int) -> str:
    if abs(value) > INTEGER_MAX:
        raise ValueError(f"{value} is too large for a number of JSON")
    return str(value)


def _in_order(names: Iterable[str]) -> list[str]:
    """By UTF-16 code units, which for most names is the order Python has."""
    if all(map(str.isascii, names)):
        return sorted(names)
    return sorted(names, key=lambda name: name.encode("utf-16-be"))


def _number(value: float) -> str:
    """As ECMAScript writes it: the fewest digits that give the same number again."""
    if not math.isfinite(value):
        raise ValueError("not a number of JSON")
    if abs(value) <= INTEGER_MAX and value == int(value):
        return str(int(value))
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    point = len(whole) + int(exponent or 0)
    digits = (whole + fraction).lstrip("0")
    point -= len(whole + fraction) - len(digits)
    digits = digits.rstrip("0")
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if 0 < point <= 21:
        return f"{sign}{digits[:point].ljust(point, '0')}.{digits[point:]}".rstrip(".")
    rest = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{rest}e{point - 1:+d}"


# What the tree holds of a record. Where it came from, and the details, are there only as commitments with a
# secret salt: without values and salt nothing can be learned from them, so that a person can be erased.


def origin_text(record: Mapping[str, Any]) -> str:
    return f'{{"ip":{_optional(record["ip"])},"user_agent":{_optional(record["user_agent"])}}}'


def commitment(salt: str, text: str) -> str:
    return hashlib.sha256(f"{salt}{text}".encode()).hexdigest()


def leaf_of(record: Mapping[str, Any]) -> "hashlib._Hash":
    """The hash of one record, as a leaf of the tree."""
    text = (
        f'\0{{"action":{quoted(record["action"])},"actor":{quoted(record["actor"])},'
        f'"details":{quoted(record["details"])},"id":{quoted(record["id"])},'
        f'"origin":{quoted(record["origin"])},"outcome":{quoted(record["outcome"])},'
        f'"received":{quoted(record["received"])},"request_id":{_optional(record["request_id"])},'
        f'"resource":{quoted(record["resource"])},"seq":{record["seq"]},'
        f'"service":{quoted(record["service"])},"status":{record["status"]},'
        f'"timestamp":{quoted(record["timestamp"])},"trace_id":{_optional(record["trace_id"])},'
        f'"user_id":{_optional(record["user_id"])},"v":{FORMAT}}}'
    )
    return hashlib.sha256(text.encode())


def _optional(value: str | None) -> str:
    return "null" if value is None else quoted(value)


# The tree (RFC 9162, section 2.1).


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


class Frontier:
    """The tree over all leaves so far, remembered by the roots of its complete subtrees."""

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        is_whole = all(len(one) == hashlib.sha256().digest_size for one in hashes)
        if size < 0 or len(hashes) != size.bit_count() or not is_whole:
            raise ValueError("these are not the subtrees of a tree of that size")
        self.size = size
        self._hashes = list(hashes)

    def add(self, leaf: bytes) -> None:
        node, size, hashes = leaf, self.size, self._hashes
        while size & 1:
            node = hashlib.sha256(b"\1" + hashes.pop() + node).digest()
            size >>= 1
        hashes.append(node)
        self.size += 1

    def root(self) -> bytes:
        if not self._hashes:
            return hashlib.sha256().digest()
        *rest, node = self._hashes
        for left in reversed(rest):
            node = node_hash(left, node)
        return node


def root_by_inclusion(leaf: bytes, seq: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root that the proof leads to (2.1.3.2); ValueError when it does not fit."""
    if not 0 <= seq < size:
        raise ValueError("there is no such leaf")
    index, last, node = seq, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ValueError("the proof is too long")
        if index & 1 or index == last:
            node = node_hash(sibling, node)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        index, last = index >> 1, last >> 1
    if last:
        raise ValueError("the proof is too short")
    return node


# Checkpoints: signed notes (c2sp.org/signed-note) that hold the size and the root (c2sp.org/tlog-checkpoint).


class Key:
    """A public key with its name, as text `name+id+base64`."""

    def __init__(self, name: str, public: Ed25519PublicKey) -> None:
        self.name, self.public = name, public
        # Spelled the long way: the `cryptography` of a distribution may be too old for the short one.
        raw = ED25519 + public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.id = hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4]
        self.text = f"{name}+{self.id.hex()}+{base64.b64encode(raw).decode()}"

    @classmethod
    def parse(cls, text: str) -> "Key":
        try:
            name, identity, encoded = text.strip().split("+", 2)
            raw = base64.b64decode(encoded, validate=True)
            key = cls(name, Ed25519PublicKey.from_public_bytes(raw[1:]))
        except ValueError as error:
            raise NotAnExport(f"{text.strip()[:80]!r} is no public key of a log") from error
        if raw[:1] != ED25519 or key.id.hex() != identity:
            raise NotAnExport(f"the public key {text.strip()[:80]!r} is damaged")
        return key


def signed_text(note: str, keys: Sequence[Key]) -> str | None:
    """The text of the note, if one of the keys has signed it."""
    text, separator, signatures = note.rpartition("\n\n")
    text += "\n"
    for line in signatures.splitlines() if separator else ():
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        for key in keys:
            if dash == "—" and name == key.name and _has_signed(key, encoded, text):
                return text
    return None


def _has_signed(key: Key, encoded: str, text: str) -> bool:
    try:
        signature = base64.b64decode(encoded, validate=True)
        if signature[:4] != key.id:
            return False
        key.public.verify(signature[4:], text.encode())
    except (InvalidSignature, ValueError):  # no base64, or what is no text
        return False
    return True


class Checkpoint(NamedTuple):
    size: int
    root: bytes

    @classmethod
    def of(cls, note: str, keys: Sequence[Key]) -> "Checkpoint | None":
        """What the note says, if it is a checkpoint, and signed by one of the keys."""
        text = signed_text(note, keys)
        found = re.fullmatch(r"([^\n]+)\n(0|[1-9]\d{0,18})\n([A-Za-z0-9+/]{43}=)\n", text or "")
        if found is None or found[1] not in {key.name for key in keys}:
            return None
        return cls(int(found[2]), base64.b64decode(found[3]))


def notes_in(text: str) -> list[str]:
    """All signed notes of a file, one behind the other."""
    return re.findall(r"(?:[^\n—][^\n]*\n)+\n(?:— [^\n]+\n)+", text)


def end_text(origin: str, lines: int, digest: bytes) -> str:
    """The digest signed at the end of an export, so that no part can be left out."""
    return f"{origin}/export\n{lines}\n{base64.b64encode(digest).decode()}\n"


@dataclass
class Erasure:
    """The places that one erasure has emptied, in the order of the log."""

    first: int
    places: int = 0
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def add(self, seq: int, part: str) -> None:
        self.places += 1
        self.digest.update(f"{seq} {part}\n".encode())


def parsed(line: bytes) -> dict[str, Any]:
    """A line of an export; one that cannot be read has a type that no line has."""
    try:
        document = json.loads(line.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return {"type": f"unreadable: {error}"}
    return document if isinstance(document, dict) else {}


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two members of one name, one program shows the first and another the last."""
    made = dict(members)
    if len(made) != len(members):
        raise ValueError("a name is there twice")
    return made


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")
