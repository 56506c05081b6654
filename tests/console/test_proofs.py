"""The proofs that the audit screen computes are those of the audit service."""

import base64
import copy
import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.audit.checking import Verification
from services.audit.proofs import FORMAT, Key, canonical, commitment, leaf_of, node_hash, origin_text
from tests.support import need

FOLDER = Path(__file__).parent
MODULE = FOLDER.parents[1] / "gateway" / "console" / "pages" / "audit_proof.js"
SIZES = (1, 2, 3, 7, 8, 13)
METADATA: list[dict[str, Any]] = [
    {"b": [1, 2.5, None, True], "a": {"z": 1e21, "é": '\u2028\\"\n\t\x01', "ab": 0.1}},
    {},
    {"price": 1e-7, "\U0001f600": "after", "\uffff": "before", "name": "Zoë 😀"},
]


def root_of(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    at = split(len(leaves))
    return node_hash(root_of(leaves[:at]), root_of(leaves[at:]))


def split(size: int) -> int:
    return 1 << ((size - 1).bit_length() - 1)


def inclusion(seq: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    at = split(len(leaves))
    if seq < at:
        return [*inclusion(seq, leaves[:at]), root_of(leaves[at:])]
    return [*inclusion(seq - at, leaves[at:]), root_of(leaves[:at])]


def consistency(before: int, leaves: list[bytes], *, is_whole: bool = True) -> list[bytes]:
    if before == len(leaves):
        return [] if is_whole else [root_of(leaves)]
    at = split(len(leaves))
    if before <= at:
        return [*consistency(before, leaves[:at], is_whole=is_whole), root_of(leaves[at:])]
    return [*consistency(before - at, leaves[at:], is_whole=False), root_of(leaves[:at])]


def record(seq: int) -> dict[str, Any]:
    metadata, salt = METADATA[seq % len(METADATA)], f"{seq:032x}"
    return {
        "seq": seq,
        "id": f"id-{seq}",
        "action": "PLACE_ORDER",
        "actor": "user:ü",
        "resource": 'a"b\\c',
        "outcome": "success",
        "status": 201,
        "service": "orders",
        "user_id": None,
        "request_id": "r",
        "trace_id": None,
        "received": "2026-01-31T12:00:00.000001Z",
        "timestamp": "2026-01-31T12:00:00.000000Z",
        "origin": "0" * 64,
        "details": commitment(salt, canonical(metadata)),
        "details_salt": salt,
        "metadata": metadata,
    }


def note_by(private: Ed25519PrivateKey, key: Key, size: int, root: bytes) -> str:
    text = f"{key.name}\n{size}\n{base64.b64encode(root).decode()}\n"
    return f"{text}\n— {key.name} {base64.b64encode(key.id + private.sign(text.encode())).decode()}\n"


def exported(**changes: Any) -> dict[str, Any]:
    """The second of three records, as a line of an export."""
    one = {**record(1), "metadata": 12, "ip": "192.0.2.1", "user_agent": None, "origin_salt": "a" * 32}
    one |= {"details": commitment(one["details_salt"], "12")}
    one |= {"origin": commitment("a" * 32, origin_text(one))}
    one |= {"origin_erased_by": None, "details_erased_by": None, "trace_id": "t", **changes}
    return {**one, "type": "record", "number": 1, "leaf": leaf_of(one).hexdigest()}


def verdict_of_the_verifier(line: dict[str, Any], private: Ed25519PrivateKey) -> str:
    leaves = [b"\0" * 32, bytes.fromhex(line["leaf"]), b"\2" * 32]
    key = Key("gatehouse.example/audit", private.public_key())
    checked = Verification([key])
    note = note_by(private, key, len(leaves), root_of(leaves))
    checked.begin(
        {"type": "header", "format": FORMAT, "partial": True, "first": 0, "frontier": [], "checkpoint": note}
    )
    checked.add_record({**line, "proof": [one.hex() for one in inclusion(1, leaves)]})
    checked.finish()
    return "bad" if checked.faults else "open" if checked.unproven else "good"


def run(**given: Any) -> dict[str, Any]:
    (node,) = need("node")
    with tempfile.TemporaryDirectory() as place:
        module = shutil.copy(MODULE, Path(place) / "audit_proof.mjs")  # every Node takes .mjs for a module
        command = [node, str(FOLDER / "proofs.mjs"), str(module)]
        done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_browser_computes_the_hashes_and_roots_of_the_service() -> None:
    records = [record(seq) for seq in range(max(SIZES))]
    leaves = [leaf_of(one).digest() for one in records]
    asked: list[dict[str, Any]] = [
        {
            "line": {**one, "proof": [each.hex() for each in inclusion(one["seq"], leaves[:size])]},
            "size": size,
        }
        for size in SIZES
        for one in records[:size]
    ]
    wanted = [root_of(leaves[:size]).hex() for size in SIZES for _ in range(size)]

    seen = run(records=asked)

    assert seen["leaves"] == [leaves[one["line"]["seq"]].hex() for one in asked]
    assert seen["roots"] == wanted
    assert seen["commitments"] == [one["line"]["details"] for one in asked]
    for change in ({"status": 200}, {"proof": asked[-1]["line"]["proof"][:-1]}, {"seq": 11}):
        changed = copy.deepcopy(asked[-1])
        changed["line"] |= change
        assert run(records=[changed])["roots"] != [wanted[-1]], change


def test_browser_accepts_checkpoints_only_with_a_signature_of_the_log() -> None:
    private, other = (
        Ed25519PrivateKey.from_private_bytes(b"\1" * 32),
        Ed25519PrivateKey.from_private_bytes(b"\2" * 32),
    )
    key = Key("gatehouse.example/audit", private.public_key())
    root = hashlib.sha256(b"root").digest()
    good = note_by(private, key, 42, root)
    bad = [good.replace("\n42\n", "\n43\n"), note_by(other, key, 42, root), "", "nothing\n\n— x AAAA\n"]

    seen = run(notes=[{"note": note, "keys": [key.text]} for note in (good, *bad)])

    signed = {"size": 42, "root": root.hex(), "key": key.text}
    assert seen["checkpoints"] == [{"signed": signed}, *[{"signed": None}] * len(bad)]


def test_browser_trusts_only_the_key_that_it_has_kept() -> None:
    one, two, root = b"\1" * 32, b"\2" * 32, hashlib.sha256(b"root").digest()
    signers = [Ed25519PrivateKey.from_private_bytes(seed) for seed in (one, two)]
    old, new = (Key("gatehouse.example/audit", signer.public_key()) for signer in signers)
    by_old, by_new = (note_by(signer, key, 42, root) for signer, key in zip(signers, (old, new), strict=True))
    by_both = by_new + by_old.rpartition("\n\n")[2]
    both = [new.text, old.text]

    def signed(key: Key, **more: str) -> dict[str, Any]:
        return {"signed": {"size": 42, "root": root.hex(), "key": key.text}, **more}

    cases: list[tuple[str, list[str], str | None, dict[str, Any]]] = [
        (by_new, both, old.text, {"signed": None, "other": new.text}),
        (by_both, both, old.text, signed(old, next=new.text)),
        (by_both, [old.text], old.text, signed(old)),
        (by_both, [new.text], old.text, signed(old)),
        (by_old, both, old.text, signed(old)),
        (by_both, both, new.text, signed(new)),
        (by_old, both, new.text, {"signed": None, "other": old.text}),
        (by_new, [old.text], old.text, {"signed": None}),
        (by_old, both, None, signed(old)),  # the key that signed, not the first of the list
        (by_both, both, None, signed(new)),
    ]
    given = [{"note": note, "keys": keys} | ({"kept": kept} if kept else {}) for note, keys, kept, _ in cases]

    assert run(notes=given)["checkpoints"] == [wanted for *_, wanted in cases]


def test_browser_judges_missing_values_as_the_verifier_does() -> None:
    no_details = {"metadata": None, "details_salt": None, "details_erased_by": 2}
    no_origin = {"ip": None, "origin_salt": None, "origin_erased_by": 2}
    cases: list[tuple[str, dict[str, Any]]] = [
        ("good", {}),
        ("open", no_details),
        ("open", no_origin),
        ("open", no_details | no_origin),
        ("bad", {"metadata": 13}),
        ("bad", {"details_salt": None}),
        ("bad", {"metadata": 13, "details_salt": None}),
        ("bad", {"ip": "192.0.2.2", "origin_salt": None}),
        ("bad", {"user_agent": "forged"}),
        ("bad", {**no_details, "metadata": 13}),
        ("bad", {**no_details, "metadata": {}}),
        ("bad", {**no_origin, "user_agent": "forged"}),
        ("bad", {**no_details, **no_origin, "ip": "192.0.2.2"}),
        *[("bad", {**no_details, "details_erased_by": by}) for by in (None, True, "2", 1, 0)],
        ("bad", {"details_erased_by": 2}),
        ("bad", {"origin_erased_by": 2}),
        ("bad", {"metadata": 2, "details_salt": record(1)["details_salt"] + "1"}),  # the same digest
        ("bad", {"details_salt": ""}),
        ("bad", {**no_details, "actor": "log", "service": "audit"}),
    ]
    private = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
    lines = [exported(**changes) for _, changes in cases]

    assert [verdict_of_the_verifier(one, private) for one in lines] == [wanted for wanted, _ in cases]
    assert run(lines=lines)["verdicts"] == [wanted for wanted, _ in cases]


def test_browser_knows_whether_a_log_continues_the_one_that_it_saw() -> None:
    leaves = [hashlib.sha256(str(number).encode()).digest() for number in range(max(SIZES))]
    others = [*leaves[:2], hashlib.sha256(b"changed").digest(), *leaves[3:]]
    asked = [
        {
            "before": {"size": before, "root": root_of(old[:before]).hex()},
            "after": {"size": after, "root": root_of(leaves[:after]).hex()},
            "proof": [one.hex() for one in consistency(before, leaves[:after])],
        }
        for old in (leaves, others)
        for before in range(3, max(SIZES) + 1)
        for after in range(before, max(SIZES) + 1)
    ]
    half = len(asked) // 2

    assert run(consistency=asked)["continues"] == [True] * half + [False] * half
