"""The elements of a proof: canonical JSON, hashes of records, the tree, keys and signed checkpoints.

An auditor downloads this together with verifier.py; it needs Python 3.11 and `cryptography`.
"""

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from json.encoder import encode_basestring as quoted
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

FORMAT = 1
INTEGER_MAX = 2**53 - 1  # above it JSON parsers disagree on numbers (RFC 8785, I-JSON)
ED25519 = b"\x01"
SIGNATURES_MAX = 16  # of a note; the service writes two at most, and verifying one takes long
SIGNATURE_CHARACTERS = 92  # the id of a key and a signature of Ed25519, as base64
EMPTY_ROOT = hashlib.sha256().digest()


class NotAnExport(Exception):
    """The input cannot be checked at all."""


# Canonical JSON (RFC 8785): equal records have equal bytes on every machine.


def canonical(value: Any) -> str:
    """Return the canonical form of a JSON value; ValueError if it has none."""
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
        raise ValueError(f"{value} is too large for a JSON number")
    return str(value)


def _in_order(names: Iterable[str]) -> list[str]:
    """Sort by UTF-16 code units, which for ASCII is Python's order."""
    if all(map(str.isascii, names)):
        return sorted(names)
    return sorted(names, key=lambda name: name.encode("utf-16-be"))


def _number(value: float) -> str:
    """Return the shortest digits that round-trip (ECMAScript number formatting)."""
    if not math.isfinite(value):
        raise ValueError("not a valid JSON number")
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


# The parts of a record in the tree. Origin and details are stored only as salted commitments, so erasing
# value and salt leaves nothing to learn.


def origin_text(record: Mapping[str, Any]) -> str:
    return f'{{"ip":{_optional(record["ip"])},"user_agent":{_optional(record["user_agent"])}}}'


def commitment(salt: str, text: str) -> str:
    return hashlib.sha256(f"{salt}{text}".encode()).hexdigest()


def leaf_of(record: Mapping[str, Any]) -> "hashlib._Hash":
    """Return the hash of one record, as a leaf of the tree."""
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


def is_time(text: str) -> bool:
    """Whether the text is a time in the only form that the log writes: UTC, to the microsecond."""
    if _TIME.fullmatch(text) is None:
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)


def _optional(value: str | None) -> str:
    return "null" if value is None else quoted(value)


# The tree (RFC 9162, section 2.1).


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


class Frontier:
    """The tree over all leaves so far, kept as the roots of its complete subtrees."""

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
            return EMPTY_ROOT
        *rest, node = self._hashes
        for left in reversed(rest):
            node = node_hash(left, node)
        return node


def root_by_inclusion(leaf: bytes, seq: int, size: int, proof: Sequence[bytes]) -> bytes:
    """Return the root to which the proof leads (2.1.3.2); ValueError if its length is wrong."""
    node = leaf
    for sibling, is_left in _path(seq, size, proof):
        node = node_hash(sibling, node) if is_left else node_hash(node, sibling)
    return node


def root_before(seq: int, size: int, proof: Sequence[bytes]) -> bytes:
    """Return the root over all records before this one, computed from the left-hand hashes of its proof."""
    left = [sibling for sibling, is_left in _path(seq, size, proof) if is_left]
    return Frontier(seq, left[::-1]).root()


def _path(seq: int, size: int, proof: Sequence[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Walk from a leaf to the root: each sibling, and whether it lies on the left."""
    if not 0 <= seq < size:
        raise ValueError("there is no such leaf")
    index, last = seq, size - 1
    for sibling in proof:
        if last == 0:
            raise ValueError("the proof is too long")
        is_left = bool(index & 1) or index == last
        while is_left and not index & 1 and index:
            index, last = index >> 1, last >> 1
        yield sibling, is_left
        index, last = index >> 1, last >> 1
    if last:
        raise ValueError("the proof is too short")


def is_continued(before: "Checkpoint", after: "Checkpoint", proof: Sequence[bytes]) -> bool:
    """Whether the proof shows that the later tree begins with the earlier one (2.1.4.2)."""
    if not before.size:
        return before.root == EMPTY_ROOT
    if before.size >= after.size:
        return before == after
    index, last = before.size - 1, after.size - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    # The earlier tree is a complete subtree: its own root comes first.
    path = [before.root, *proof] if not index else list(proof)
    if not path:
        return False
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if index & 1 or index == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        index, last = index >> 1, last >> 1
    return last == 0 and (old, new) == (before.root, after.root)


# Checkpoints: signed notes (c2sp.org/signed-note) that hold the size and the root (c2sp.org/tlog-checkpoint).


class Key:
    """A public key with its name, as text `name+id+base64`."""

    def __init__(self, name: str, public: Ed25519PublicKey) -> None:
        self.name, self.public = name, public
        # Not the newer shorthand, which the `cryptography` of some distributions lacks.
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
            raise NotAnExport(f"{text.strip()[:80]!r} is not a log's public key") from error
        if raw[:1] != ED25519 or key.id.hex() != identity:
            raise NotAnExport(f"the public key {text.strip()[:80]!r} is damaged")
        return key


def signed_text(note: str, keys: Sequence[Key]) -> str | None:
    """Return the text of the note, if one of the keys signed it."""
    text, separator, signatures = note.rpartition("\n\n")
    text += "\n"
    for line in signatures.splitlines()[:SIGNATURES_MAX] if separator else ():
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
    except (InvalidSignature, ValueError):  # not base64, or surrogates in the text
        return False
    return True


class Checkpoint(NamedTuple):
    size: int
    root: bytes

    @classmethod
    def of(cls, note: str, keys: Sequence[Key]) -> "Checkpoint | None":
        """Return the checkpoint in the note, if one of the keys signed it."""
        text = signed_text(note, keys)
        found = re.fullmatch(r"([^\n]+)\n(0|[1-9]\d{0,18})\n([A-Za-z0-9+/]{43}=)\n", text or "")
        if found is None or found[1] not in {key.name for key in keys}:
            return None
        return cls(int(found[2]), base64.b64decode(found[3]))


def notes_in(text: str) -> list[str]:
    """Return all signed notes of a file, in order: some lines, an empty one, and signatures.

    Line by line: an expression would take hours for a hostile file of a few megabytes.
    """
    found, body, signatures, is_over = list[str](), list[str](), list[str](), False
    for line in [*text.split("\n")[:-1], ""]:
        if is_over and len(line) > len(_DASH) and line.startswith(_DASH):
            signatures.append(line)
            continue
        if signatures:
            found.append("\n".join([*body, "", *signatures, ""]))
        if signatures or is_over or line.startswith(_DASH[0]):
            body, signatures, is_over = [], [], False
        if not line:
            is_over = bool(body)
        elif not line.startswith(_DASH[0]):
            body.append(line)
    return found


_DASH = "— "  # before a signature


def is_torn(note: str) -> bool:
    """Whether its last signature is cut off, as after a crash or on a full disk; the whole note follows."""
    _, _, encoded = note.splitlines()[-1].removeprefix("— ").partition(" ")
    return len(encoded) < SIGNATURE_CHARACTERS


def end_text(origin: str, lines: int, digest: bytes) -> str:
    """Return the text that is signed at the end of an export; its digest covers the whole export."""
    return f"{origin}/export\n{lines}\n{base64.b64encode(digest).decode()}\n"


@dataclass
class Erasure:
    """The fields that one erasure cleared, in the order of the log."""

    first: int
    places: int = 0
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def add(self, seq: int, part: str) -> None:
        self.places += 1
        self.digest.update(f"{seq} {part}\n".encode())


@dataclass
class Emptied:
    """The cleared fields that name the same erasure as their reason, in the order of the log."""

    erasure: Erasure
    last: int
    months: dict[str, Erasure] = field(default_factory=dict)
    # The accounts that may have been erased, each with the first record that is not about it.
    accounts: dict[str, int | None] = field(default_factory=dict)

    @classmethod
    def beginning_with(cls, seq: int, owners: Sequence[str]) -> "Emptied":
        return cls(Erasure(seq), seq, accounts=dict.fromkeys(owners))

    def add(self, seq: int, part: str, month: str, owners: Sequence[str]) -> None:
        self.last = max(self.last, seq)
        self.erasure.add(seq, part)
        self.months.setdefault(month, Erasure(seq)).add(seq, part)
        for account, odd in self.accounts.items():
            if odd is None and account not in owners:
                self.accounts[account] = seq

    def not_of(self, account: str) -> int | None:
        """Return the first record that is not about the account."""
        return self.accounts.get(account, self.erasure.first)


def parsed(line: bytes) -> dict[str, Any]:
    """Return the content of a line of an export; an unreadable line gets a type that no valid line has."""
    try:
        document = json.loads(line.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return {"type": f"unreadable: {error}"}
    return document if isinstance(document, dict) else {}


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Reject duplicate names: some programs use the first value, others the last."""
    made = dict(members)
    if len(made) != len(members):
        raise ValueError("a name occurs twice")
    return made


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a valid JSON number")
