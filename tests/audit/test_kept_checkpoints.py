"""Checkpoints that somebody kept, compared with a log whose records from before them were cut off."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.audit.checkpoints import Checkpoints
from services.audit.log import tree_of
from services.audit.opening import open_log
from services.audit.proofs import Checkpoint, Frontier, is_continued, leaf_hash, root_before
from services.audit.retention import cut
from services.audit.tree import Tree, grown
from services.audit.verifier import main
from shared.clock import now
from tests.audit.attacks import by_service, verdict
from tests.audit.support import ALICE, BOB, Log, checkpoint, entry
from tests.audit.test_tampering import own_settings

LONG_AGO = datetime(2024, 1, 10, tzinfo=UTC)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    return lambda moment: monkeypatch.setattr("services.audit.log.now", lambda: moment)


def begin(log: Log) -> None:
    with log.database.transaction() as session:
        open_log(session, log.checkpoints.keys)


def start_again(log: Log, at: Callable[[datetime], None], checkpoints: Checkpoints) -> None:
    """Replace the log by another one whose made-up start is cut off beyond every checkpoint that was kept."""
    log.tamper(*(f"DELETE FROM {one}" for one in ("records", "personal", "tiles", "checkpoints")))
    at(LONG_AGO)
    log.fill(40)
    at(now())
    begin(log)
    cut(checkpoints, now(), months=13)
    log.add(entry(ALICE))
    checkpoints.make(whole=True)


def consistency(log: Log, size: int, to: int) -> list[bytes]:
    with log.database.transaction(write=False) as session:
        return tree_of(session).consistency(size, to)


class TestCutOff:
    @pytest.fixture
    def kept(self, log: Log, at: Callable[[datetime], None]) -> str:
        log.prepare_month(LONG_AGO)
        at(LONG_AGO)
        log.add(*(entry(BOB) for _ in range(21)))
        note = log.sign()
        log.add(entry(BOB))  # the log will start after the checkpoint
        return note

    @pytest.mark.parametrize("is_replaced", [True, False])
    def test_verifier_needs_a_proof_that_the_log_continues_a_checkpoint(
        self,
        log: Log,
        kept: str,
        at: Callable[[datetime], None],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        *,
        is_replaced: bool,
    ) -> None:
        elsewhere = Checkpoints(log.settings.model_copy(update={"anchor_file": None}), log.database)
        log.checkpoints = elsewhere
        if is_replaced:
            start_again(log, at, elsewhere)
        else:
            at(now())
            begin(log)
            cut(elsewhere, now(), months=13)
        (tmp_path / "export").write_bytes(b"".join(log.lines()))
        (tmp_path / "kept").write_text(kept, encoding="utf-8")
        size = checkpoint(log.sign(), log.keys).size
        proof = [one.hex() for one in consistency(log, 21, size)]
        written = json.dumps({"size_before": 21, "size": size, "proof": proof})
        (tmp_path / "proofs").write_text(f"{written}\n{written}", encoding="utf-8")
        arguments = [
            str(tmp_path / "export"),
            "--key",
            log.keys[0].text,
            "--checkpoint",
            str(tmp_path / "kept"),
        ]

        assert main(arguments) == 3
        assert f"/audit/proof/consistency?from=21&to={size}" in capsys.readouterr().out
        assert main([*arguments, "--consistency", str(tmp_path / "proofs")]) == (1 if is_replaced else 0)
        (tmp_path / "proofs").write_text(written[:-3], encoding="utf-8")
        assert main([*arguments, "--consistency", str(tmp_path / "proofs")]) == 2

    def test_service_compares_the_anchor_from_before_the_start(
        self, log: Log, kept: str, at: Callable[[datetime], None]
    ) -> None:
        """The attacker has the key, but cannot write the anchor file."""
        assert kept
        start_again(log, at, Checkpoints(log.settings.model_copy(update={"anchor_file": None}), log.database))
        log.checkpoints = Checkpoints(log.settings, log.database)

        assert by_service(log) == "tampered"

    def test_service_accepts_the_anchor_from_before_an_honest_start(
        self, log: Log, kept: str, at: Callable[[datetime], None]
    ) -> None:
        assert kept
        at(now())
        begin(log)
        cut(log.checkpoints, now(), months=13)
        log.checkpoints = Checkpoints(log.settings, log.database)

        assert by_service(log) == "ok"


def test_part_of_the_log_is_compared_with_a_kept_checkpoint_only_by_a_proof(tmp_path: Path) -> None:
    with Log(own_settings(tmp_path)) as log:
        log.add(*(entry(BOB) for _ in range(5)))
        kept = log.sign()
        log.add(entry(BOB))
        part = log.lines(log.partial(BOB))

        assert verdict(log.check(part)) == "ok"
        assert verdict(log.check(part, kept)) == "unproven"
        export = log.partial(BOB)
        export.kept = 5
        part = log.lines(export)
        assert verdict(log.check(part, kept)) == "ok"
        log.tamper(
            "UPDATE tiles SET hashes = CAST(x'00' || substr(hashes, 2) AS BLOB)", "DELETE FROM checkpoints"
        )
        log.checkpoints = Checkpoints(log.settings, log.database)
        export = log.partial(BOB)
        export.kept = 5
        assert ("rewritten", None) in [one[:2] for one in log.check(log.lines(export), kept).faults]


def leaves(count: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(count)]


def tree_over(hashes: list[bytes]) -> Tree:
    tiles = grown(lambda _level: (0, b""), hashes)
    return Tree(lambda level, number: tiles.get((level, number), b""))


def root_over(hashes: list[bytes]) -> bytes:
    frontier = Frontier()
    for one in hashes:
        frontier.add(one)
    return frontier.root()


@given(st.data())
@settings(max_examples=60)
def test_only_the_tree_that_continues_another_has_a_proof(data: st.DataObject) -> None:
    to = data.draw(st.integers(1, 600))
    size = data.draw(st.integers(1, to))
    hashes = leaves(to)
    before = Checkpoint(size, root_over(hashes[:size]))
    after = Checkpoint(to, root_over(hashes))
    proof = tree_over(hashes).consistency(size, to) if size < to else []
    place = data.draw(st.integers(0, to - 1))
    changed = Checkpoint(to, root_over([*hashes[:place], leaf_hash(b"x"), *hashes[place + 1 :]]))

    assert is_continued(before, after, proof)
    assert not is_continued(before, changed, proof)
    assert not is_continued(Checkpoint(size, changed.root), after, proof)
    assert not is_continued(before, after, [*proof, b"\0" * 32]) or size == to
    if size < to:
        assert not is_continued(before, after, proof[:-1])


@given(st.data())
@settings(max_examples=60)
def test_proof_of_a_record_shows_the_tree_before_it(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 600))
    seq = data.draw(st.integers(0, size - 1))
    hashes = leaves(size)

    assert root_before(seq, size, tree_over(hashes).inclusion(seq, size)) == root_over(hashes[:seq])


@pytest.mark.parametrize("missing", [1, 40, 92, 100])
def test_anchor_with_a_checkpoint_that_a_crash_cut_short_is_compared_with_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], missing: int
) -> None:
    """The service writes it again, so the file holds it twice."""
    anchor = tmp_path / "anchor"
    with Log(own_settings(tmp_path, anchor_file=anchor)) as log:
        log.fill(2)
        log.sign()
        log.fill(2)
        log.sign()
        anchor.write_bytes(anchor.read_bytes()[: -2 - missing])
        log.checkpoints = Checkpoints(log.settings, log.database)
        (tmp_path / "export").write_bytes(b"".join(log.lines()))
        arguments = [str(tmp_path / "export"), "--key", log.keys[0].text, "--checkpoint", str(anchor)]

        assert [one.size for one in log.checkpoints.anchored(range(10))] == [2, 4]
        assert main(arguments) == 0
        assert "1 checkpoints were not written completely" in capsys.readouterr().out
        written = anchor.read_bytes()
        for within in (1, 2):  # the bytes of the dash before the signature
            anchor.write_bytes(written[: written.rfind("—".encode()) + within])
            assert main(arguments) == 0
        anchor.write_bytes(written)
        text = anchor.read_text(encoding="utf-8")
        anchor.write_text(text[:-20] + text[-20:].swapcase(), encoding="utf-8")
        assert main(arguments) == 2, "a signature of another key has the usual length"
