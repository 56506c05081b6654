"""The verifier reports every change of a log or an export, and its position."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.audit.checking import RECORD_FIELDS
from services.audit.checkpoints import Checkpoints
from services.audit.proofs import (
    Checkpoint,
    Frontier,
    NotAnExport,
    canonical,
    commitment,
    leaf_of,
    origin_text,
)
from services.audit.settings import Settings
from shared.testing import TEST_INTERNAL_SECRET, TEST_JWT_SECRET
from tests.audit.support import ALICE, BOB, TEST_KEY_SECRET, Log, changed

RECORDS = 700
OTHER_SECRET = "0f9e8d7c6b5a49382716051423324150"
CONTENT = sorted(RECORD_FIELDS - {"type", "seq"})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    """One log for all tests that change only an export of it."""
    folder = tmp_path_factory.mktemp("audit")
    with Log(own_settings(folder)) as log:
        log.fill(RECORDS // 2, user_id=ALICE)
        log.sign()
        log.fill(RECORDS - RECORDS // 2, user_id=BOB)
        yield log


def own_settings(folder: Path, **values: Any) -> Settings:
    return Settings.model_validate(
        {
            "data_dir": folder,
            "jwt_secret": TEST_JWT_SECRET,
            "internal_secret": TEST_INTERNAL_SECRET,
            "key_secret": TEST_KEY_SECRET,
            **values,
        }
    )


@pytest.fixture(scope="module")
def full(made: Log) -> list[bytes]:
    return made.lines()


@pytest.fixture(scope="module")
def partial(made: Log) -> list[bytes]:
    return made.lines(made.partial(BOB))


def records_of(lines: list[bytes]) -> dict[int, int]:
    """Return the line of each record, by its position in the log."""
    parsed = [json.loads(line) for line in lines]
    return {one["seq"]: index for index, one in enumerate(parsed) if one["type"] == "record"}


def said(log: Log, lines: list[bytes], *kept: str) -> tuple[str, int | None]:
    """Return the first fault that the verifier finds."""
    try:
        faults = log.check(lines, *kept).faults
    except NotAnExport:
        return "no export", None
    assert faults, "passed unnoticed"
    return faults[0].kind, faults[0].seq


def recomputed(line: bytes, **fields: Any) -> bytes:
    """Change a record and recompute its commitments and its leaf."""
    record = json.loads(line) | fields
    record["origin"] = commitment(record["origin_salt"], origin_text(record))
    record["details"] = commitment(record["details_salt"], canonical(record["metadata"]))
    record["leaf"] = leaf_of(record).hexdigest()
    return json.dumps(record).encode() + b"\n"


def something_else(value: Any) -> Any:
    if isinstance(value, str):
        return value + "0"
    if isinstance(value, dict):
        return {**value, "size": 1}
    if isinstance(value, list):
        return [*value, "00" * 32]
    return 7 if value is None else value + 1


class TestUntouchedExports:
    def test_untouched_export_of_the_whole_log_has_no_faults(self, made: Log, full: list[bytes]) -> None:
        verification = made.check(full)

        assert verification.faults == []
        assert verification.records == RECORDS
        assert verification.checkpoint is not None
        assert verification.checkpoint.size == RECORDS

    def test_untouched_partial_export_has_no_faults(self, made: Log, partial: list[bytes]) -> None:
        verification = made.check(partial)

        assert verification.faults == []
        assert verification.records == RECORDS // 2


class TestOneRecord:
    @pytest.mark.parametrize("field", CONTENT)
    @pytest.mark.parametrize("export", ["full", "partial"])
    def test_changed_field_is_found(
        self, made: Log, request: pytest.FixtureRequest, export: str, field: str
    ) -> None:
        lines = list(request.getfixturevalue(export))
        place = records_of(lines)[650]
        value = json.loads(lines[place])[field]
        lines[place] = changed(lines[place], **{field: something_else(value)})

        kind, seq = said(made, lines)
        assert kind in {"changed", "malformed"}
        assert seq == 650

    @pytest.mark.parametrize("field", CONTENT)
    def test_field_set_to_null_is_found(self, made: Log, full: list[bytes], field: str) -> None:
        lines = list(full)
        place = records_of(lines)[650]
        if json.loads(lines[place])[field] is None:
            return
        lines[place] = changed(lines[place], **{field: None})

        assert said(made, lines)[1] == 650

    @pytest.mark.parametrize("field", sorted(RECORD_FIELDS - {"type"}))
    def test_removed_field_is_found(self, made: Log, full: list[bytes], field: str) -> None:
        lines = list(full)
        place = records_of(lines)[650]
        record = json.loads(lines[place])
        del record[field]
        lines[place] = json.dumps(record).encode() + b"\n"

        assert said(made, lines)[1] == 650

    def test_added_field_is_found(self, made: Log, full: list[bytes]) -> None:
        lines = list(full)
        place = records_of(lines)[650]
        lines[place] = changed(lines[place], approved_by="somebody")

        assert said(made, lines) == ("changed", 650)

    def test_duplicate_field_is_found(self, made: Log, full: list[bytes]) -> None:
        """Some programs use the first value, others the last."""
        lines = list(full)
        place = records_of(lines)[650]
        lines[place] = lines[place].replace(b'{"type"', b'{"action":"HARMLESS","type"', 1)

        assert said(made, lines)[1] == 650

    def test_changed_record_with_recomputed_hash_is_found_between_checkpoints(
        self, made: Log, full: list[bytes]
    ) -> None:
        """The signed checkpoints in between narrow down the position."""
        lines = list(full)
        place = records_of(lines)[300]
        lines[place] = recomputed(lines[place], action="HARMLESS")

        assert said(made, lines) == ("rewritten", 256)

    def test_changed_record_in_a_partial_export_is_found_by_its_proof(
        self, made: Log, partial: list[bytes]
    ) -> None:
        lines = list(partial)
        place = records_of(lines)[650]
        lines[place] = recomputed(lines[place], action="HARMLESS")

        assert said(made, lines) == ("rewritten", 650)


class TestOrder:
    @pytest.mark.parametrize("export", ["full", "partial"])
    def test_removed_record_is_found(self, made: Log, request: pytest.FixtureRequest, export: str) -> None:
        lines = list(request.getfixturevalue(export))
        del lines[records_of(lines)[650]]

        assert said(made, lines) == ("removed", 650)

    def test_removed_range_is_named(self, made: Log, full: list[bytes]) -> None:
        places = records_of(full)
        lines = full[: places[300]] + full[places[400] :]

        assert said(made, lines) == ("removed", 300)
        assert "300 to 399" in made.check(lines).faults[0].detail

    @pytest.mark.parametrize("export", ["full", "partial"])
    def test_moved_record_is_reordered(self, made: Log, request: pytest.FixtureRequest, export: str) -> None:
        lines = list(request.getfixturevalue(export))
        places = records_of(lines)
        moved = lines.pop(places[600])
        lines.insert(places[620], moved)

        assert said(made, lines) == ("reordered", 600)

    def test_swapped_records_with_swapped_numbers_are_found(self, made: Log, full: list[bytes]) -> None:
        lines, places = list(full), records_of(full)
        one, two = lines[places[600]], lines[places[601]]
        lines[places[600]] = changed(two, seq=600)
        lines[places[601]] = changed(one, seq=601)

        assert said(made, lines) == ("changed", 600)

    @pytest.mark.parametrize("export", ["full", "partial"])
    def test_duplicated_record_is_found(self, made: Log, request: pytest.FixtureRequest, export: str) -> None:
        lines = list(request.getfixturevalue(export))
        place = records_of(lines)[650]
        lines.insert(place + 1, lines[place])

        assert said(made, lines) == ("duplicated", 650)

    def test_invented_record_is_found(self, made: Log, full: list[bytes]) -> None:
        lines = list(full)
        lines.insert(-1, recomputed(lines[records_of(lines)[699]], seq=RECORDS))

        assert said(made, lines)[0] == "changed"


class TestTheTail:
    def test_missing_lines_at_the_end_are_truncation(self, made: Log, full: list[bytes]) -> None:
        lines = full[: records_of(full)[500]]

        assert said(made, lines) == ("truncated", 500)

    def test_missing_records_before_the_last_line_are_truncation(self, made: Log, full: list[bytes]) -> None:
        lines = [*full[: records_of(full)[500]], full[-1]]

        assert ("truncated", 500) in [fault[:2] for fault in made.check(lines).faults]

    def test_missing_last_record_of_a_partial_export_is_found(self, made: Log, partial: list[bytes]) -> None:
        lines = [*partial[:-2], partial[-1]]

        assert said(made, lines) == ("changed", RECORDS - 1)

    def test_file_that_ends_within_a_line_is_found(self, made: Log, full: list[bytes]) -> None:
        place = records_of(full)[500]
        lines = [*full[:place], full[place][:100]]

        assert said(made, lines)[1] == 500

    def test_rollback_to_an_older_checkpoint_is_found_with_a_newer_one(
        self, made: Log, full: list[bytes]
    ) -> None:
        """The log is rolled back, with the checkpoint of that time."""
        kept = json.loads(full[0])["checkpoint"]
        notes = [json.loads(line)["note"] for line in full if json.loads(line)["type"] == "checkpoint"]
        older = changed(full[0], checkpoint=notes[0])
        place = records_of(full)[256]

        assert said(made, [older, *full[1:place], full[-1]], kept) == ("rolled_back", 256)


class TestTheTree:
    def test_tree_signed_by_a_foreign_key_is_found(
        self, made: Log, full: list[bytes], tmp_path: Path
    ) -> None:
        """An attacker rebuilds the tree and signs it with another key."""
        other = Checkpoints(own_settings(tmp_path, key_secret=OTHER_SECRET), made.database)
        frontier = Frontier()
        for line in full[1:-1]:
            record = json.loads(line)
            if record["type"] == "record":
                frontier.add(bytes.fromhex(record["leaf"]))
        lines = [changed(full[0], checkpoint=other.note(RECORDS, frontier.root())), *full[1:]]

        assert said(made, lines) == ("foreign_key", None)

    @pytest.mark.parametrize(
        "fields",
        [
            {"first": 3, "frontier": ["00" * 32, "00" * 32]},
            {"first": -1},
            {"frontier": ["00" * 32]},
            {"frontier": "00"},
            {"partial": True},
            {"format": 2},
            {"checkpoint": ""},
        ],
    )
    def test_changed_header_is_found(self, made: Log, full: list[bytes], fields: dict[str, Any]) -> None:
        assert said(made, [changed(full[0], **fields), *full[1:]])

    def test_changed_checkpoint_between_records_is_found(self, made: Log, full: list[bytes]) -> None:
        lines = list(full)
        place = next(index for index, line in enumerate(lines) if b'"checkpoint"' in line[:25])
        note = json.loads(lines[place])["note"].replace("\n256\n", "\n257\n")
        lines[place] = changed(lines[place], note=note)

        assert said(made, lines) == ("foreign_key", 256)

    def test_changed_proof_is_found(self, made: Log, partial: list[bytes]) -> None:
        lines = list(partial)
        place = records_of(lines)[650]
        proof = json.loads(lines[place])["proof"]
        lines[place] = changed(lines[place], proof=["00" * 32, *proof[1:]])

        assert said(made, lines) == ("rewritten", 650)


number = st.integers(min_value=0, max_value=10**6)


class TestRandomChanges:
    @settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.sampled_from(["byte", "delete", "repeat", "swap", "cut", "member"]), number, number, number)
    def test_no_change_passes_unnoticed(
        self, made: Log, full: list[bytes], what: str, first: int, second: int, third: int
    ) -> None:
        lines = mutated(full, what, first % len(full), second, third)
        if lines != full:
            assert said(made, lines)


def mutated(full: list[bytes], what: str, place: int, second: int, third: int) -> list[bytes]:
    lines, line, other = list(full), full[place], second % len(full)
    if what == "byte":
        at = second % len(line)
        lines[place] = line[:at] + bytes([third % 256]) + line[at + 1 :]
    elif what == "delete":
        del lines[place]
    elif what == "repeat":
        lines.insert(other, line)
    elif what == "swap":
        lines[place], lines[other] = lines[other], line
    elif what == "cut":
        del lines[place:]
    else:
        one = json.loads(line)
        name = sorted(one)[second % len(one)]
        lines[place] = changed(line, **{name: something_else(one[name])})
    return b"".join(lines).splitlines(keepends=True)


def test_checkpoint_is_parsed_from_its_note(made: Log, full: list[bytes]) -> None:
    note = json.loads(full[0])["checkpoint"]
    said_there = Checkpoint.of(note, made.keys)

    assert said_there is not None
    assert note.split("\n")[:3] == [
        "gatehouse/audit",
        str(RECORDS),
        base64.b64encode(said_there.root).decode(),
    ]
