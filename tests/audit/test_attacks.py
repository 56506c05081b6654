"""Attacks by the owner of the database, who wants to remove a record. Every verification finds them.

Each attack is made on a log in which an account was erased and a month was cut off. Then the stand-alone
verifier checks an export of the whole log, and the service checks the log as a whole and in ranges.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from services.audit import log as log_module
from services.audit.erasure import erase_due
from services.audit.opening import open_log
from services.audit.retention import cut
from services.audit.statements import HOLD_LIFTED, HOLD_PLACED, PERSON_ERASED, RETENTION_CUT
from tests.audit.attacks import (
    FEBRUARY,
    JANUARY,
    MARCH,
    Attack,
    actions,
    blank,
    by_part,
    by_service,
    by_verifier,
    deletion,
    erase,
    forged,
    gone,
    hold,
    in_ranges,
    legacy,
    owner,
)
from tests.audit.support import ALICE, BOB, Log, entry
from tests.audit.test_tampering import own_settings

FIRST, ALICE_ERASED, LATE_ERASED, CUT = 5, 14, 17, 19  # see build()


def build(log: Log, at: Callable[[datetime], None]) -> None:
    """The attacks refer to these positions."""
    at(JANUARY)
    with log.database.transaction() as session:
        open_log(session, log.checkpoints.keys)  # 0
    log.add(entry(ALICE), entry(ALICE), entry(BOB), entry(BOB))  # 1 to 4
    log.sign()
    at(FEBRUARY)
    log.add(entry(ALICE), entry(ALICE), entry(BOB), entry(BOB), entry(BOB, resource=ALICE))  # 5 to 9
    log.sign()
    at(MARCH)
    log.add(entry(ALICE), entry(BOB), entry(BOB), deletion(ALICE))  # 10 to 13
    log.sign()
    erase(log, ALICE)  # 14
    log.add(entry(BOB), entry(ALICE))  # 15, 16
    erase_due(log.database, log.checkpoints.keys)  # 17
    log.add(entry(BOB))  # 18
    log.sign()
    cut(log.checkpoints, MARCH, months=1)  # 19
    log.add(entry(BOB), entry(BOB, resource=ALICE + "0"))  # 20, 21
    log.sign()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attacked")
    with (
        pytest.MonkeyPatch.context() as patched,
        Log(own_settings(folder, anchor_file=folder / "anchor")) as log,
    ):
        build(log, lambda moment: patched.setattr("services.audit.log.now", lambda: moment))
        with log.database.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return folder


@pytest.fixture
def attacked(template: Path, tmp_path: Path) -> Iterator[Log]:
    folder = tmp_path / "copy"
    shutil.copytree(template, folder)
    with Log(own_settings(folder, anchor_file=folder / "anchor")) as log:
        yield log


def forged_erasure(log: Log) -> None:
    by = forged(log, PERSON_ERASED, BOB, {"first": 7, "places": 1, "months": {}})
    log.tamper(blank(7, by))


def copied_erasure(log: Log) -> None:
    """A statement with the signature of a real one from another position."""
    with log.database.engine.connect() as connection:
        said = connection.execute(text("SELECT metadata FROM personal WHERE seq = 14")).scalar_one()
    by = forged(log, PERSON_ERASED, ALICE, json.loads(said))
    log.tamper(blank(9, by, "origin"))


def old_erasure(log: Log) -> None:
    """An erasure in the unsigned format of older versions."""
    by = forged(log, PERSON_ERASED, "audit", legacy(7, "details"))
    log.tamper(blank(7, by))


def forged_cut(log: Log) -> None:
    forged(log, RETENTION_CUT, "audit", {"kept_from": 10, "before": "2026-03-01T00:00:00.000000Z"})
    gone(10)(log)


def relabelled(log: Log) -> None:
    """Assign a record to an erased account, let it be erased, and assign it back."""
    log.tamper(f"UPDATE records SET user_id = '{ALICE}' WHERE seq = 18")
    erase_due(log.database, log.checkpoints.keys)
    log.tamper(f"UPDATE records SET user_id = '{BOB}' WHERE seq = 18")


def held_then_erased(log: Log, lift: Attack | None = None) -> None:
    """The service refuses this, unless a damaged index hides the statement of the hold."""
    hold(log, BOB)
    if lift is not None:
        lift(log)
    log.tamper("DELETE FROM holds")
    log.add(deletion(BOB))
    erase(log, BOB)
    assert actions(log)[-1] == "DELETE_ACCOUNT"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("services.audit.erasure.is_stated", lambda *_: False)
        erase(log, BOB)
    assert actions(log)[-1] == PERSON_ERASED


def hold_lifted_by_a_forged_record(log: Log) -> None:
    def lift(log: Log) -> None:
        forged(log, HOLD_LIFTED, BOB, {})

    held_then_erased(log, lift)


def held_then_cut(log: Log) -> None:
    """The service refuses this, so the check before the cut is left out."""
    hold(log, BOB)
    log.tamper("DELETE FROM holds")
    april = datetime(2026, 4, 2, tzinfo=UTC)
    cut(log.checkpoints, april, months=1)
    assert actions(log)[-1] == HOLD_PLACED
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("services.audit.before_cut.check", lambda *_: None)
        cut(log.checkpoints, april, months=1)
    assert actions(log)[-1] == RETENTION_CUT


def appended_in_the_past(log: Log) -> None:
    """Append a record that claims to have been received long ago, to have it cut off soon."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(log_module, "_not_before_the_last", lambda *_: JANUARY)
        log.add(entry(BOB))


def salt_with_a_part_of_the_text(log: Log) -> None:
    """The hash is the same, but the text differs."""
    log.tamper(
        "UPDATE personal SET details_salt = details_salt || substr(metadata, 1, 1),"
        " metadata = substr(metadata, 2) WHERE seq = 7"
    )


ATTACKS: dict[str, Attack] = {
    # Fields are cleared, and an erasure is named that did not clear them.
    "a newer record names an older erasure": owner(blank(15, ALICE_ERASED)),
    "the origin of a newer record names an older erasure": owner(blank(18, LATE_ERASED, "origin")),
    "a record of another account names the erasure": owner(blank(7, ALICE_ERASED)),
    "both parts of a record of another account name the erasure": owner(
        blank(8, LATE_ERASED), blank(8, LATE_ERASED, "origin")
    ),
    "a record with a similar resource names an erasure": owner(blank(21, 22)),
    "the origin of an action on the person names the erasure": owner(blank(9, ALICE_ERASED, "origin")),
    "a late record names the erasure before it": owner(
        "UPDATE personal SET details_erased_by = 14 WHERE seq = 16"
    ),
    "an old record names the later erasure": owner("UPDATE personal SET origin_erased_by = 17 WHERE seq = 5"),
    "a record names an ordinary record as its erasure": owner(blank(7, 11)),
    "a record names the cut": owner(blank(7, CUT)),
    "a record names itself": owner(blank(11, 11)),
    "a record names one before the log": owner(blank(11, -1)),
    "a record names one that is cut off": owner(blank(11, 0)),
    "a record names a future one": owner(blank(11, 10_000)),
    "a statement of the log is cleared": owner(blank(ALICE_ERASED, LATE_ERASED)),
    "the statement of the cut is cleared": owner(blank(CUT, 20)),
    "a part is cleared without a reason": owner("UPDATE personal SET metadata = NULL WHERE seq = 7"),
    "metadata is null and its salt stays": owner("UPDATE personal SET metadata = 'null' WHERE seq = 7"),
    "only the salt is removed": owner("UPDATE personal SET details_salt = NULL WHERE seq = 7"),
    "the personal row of a record is deleted": owner("DELETE FROM personal WHERE seq = 7"),
    "erased metadata is filled again": owner("UPDATE personal SET metadata = '{}' WHERE seq = 5"),
    "a salt absorbs a part of the text": salt_with_a_part_of_the_text,
    "a salt is short": owner("UPDATE personal SET details_salt = 'abc' WHERE seq = 7"),
    # Statements of the log are forged.
    "an erasure is forged": forged_erasure,
    "an erasure is copied": copied_erasure,
    "an erasure in the old format is appended": old_erasure,
    "a cut is forged": forged_cut,
    "a hold is lifted by a forged record": hold_lifted_by_a_forged_record,
    # The service is tricked into doing it.
    "a record is relabelled and erased": relabelled,
    "a hold is deleted and the account erased": held_then_erased,
    "a hold is deleted and its records cut off": held_then_cut,
    # Records are cut off, moved and inserted.
    "more is deleted than was cut off": gone(10),
    "the cut is undone in the horizon": owner("UPDATE horizon SET kept_from = 0"),
    "a record is deleted": owner("DELETE FROM records WHERE seq = 11"),
    "two records are swapped": owner(
        *(
            f"UPDATE {table} SET seq = {to} WHERE seq = {seq}"
            for table in ("records", "personal")
            for seq, to in ((11, 99), (12, 11), (99, 12))
        )
    ),
    "a record is moved to before the start of the log": owner(
        "UPDATE records SET seq = -1 WHERE seq = 11", "UPDATE personal SET seq = -1 WHERE seq = 11"
    ),
    "a record is appended that was received in the past": appended_in_the_past,
    "a record is backdated": owner(
        *(
            f"UPDATE {table} SET received = '2026-01-10 00:00:00.000000+00:00' WHERE seq = 5"
            for table in ("records", "personal")
        )
    ),
    "the action is changed": owner("UPDATE records SET action = 'HARMLESS' WHERE seq = 7"),
    # The tree and its checkpoints.
    "a hash is changed": owner("UPDATE tiles SET hashes = zeroblob(length(hashes)) WHERE level = 0"),
    "the tree is deleted": owner("DELETE FROM tiles"),
    "the newest checkpoints are deleted with their records": owner(
        "DELETE FROM checkpoints WHERE size > 13",
        "DELETE FROM records WHERE seq > 12",
        "DELETE FROM personal WHERE seq > 12",
        "UPDATE tiles SET hashes = substr(hashes, 1, 13 * 32)",
    ),
    "a checkpoint has another size": owner(
        "UPDATE checkpoints SET note = replace(note, char(10) || '22', char(10) || '23')"
    ),
}


@pytest.mark.parametrize(
    "look", [by_verifier, by_part, by_service, in_ranges], ids=lambda look: look.__name__
)
def test_log_without_an_attack_is_intact(attacked: Log, look: Callable[[Log], str]) -> None:
    assert look(attacked) == "ok"


def test_log_has_the_records_that_the_attacks_expect(attacked: Log) -> None:
    with attacked.database.engine.connect() as connection:
        rows = connection.execute(text("SELECT seq, action FROM records ORDER BY seq")).all()
        emptied = connection.execute(
            text("SELECT seq, details_erased_by, origin_erased_by FROM personal WHERE details_salt IS NULL")
        ).all()
    places = {seq: action for seq, action in rows if action != "FILE_UPLOAD"}

    assert places == {13: "DELETE_ACCOUNT", 14: PERSON_ERASED, 17: PERSON_ERASED, 19: RETENTION_CUT}
    assert [seq for seq, _ in rows] == list(range(FIRST, 22))
    assert {tuple(row) for row in emptied} == {
        (5, 14, 14), (6, 14, 14), (9, 14, None), (10, 14, 14), (13, 14, None), (16, 17, 17)
    }  # fmt: skip


@pytest.mark.parametrize("look", [by_verifier, by_service, in_ranges], ids=lambda look: look.__name__)
@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_is_found(attacked: Log, attack: str, look: Callable[[Log], str]) -> None:
    ATTACKS[attack](attacked)

    if look is in_ranges and attack in ONLY_AS_A_WHOLE:
        return
    assert look(attacked) == "tampered"


# It clears nothing, and only the digest over a whole month reveals it.
ONLY_AS_A_WHOLE = {"an old record names the later erasure"}


IN_PARTS = {
    "a newer record names an older erasure": "tampered",
    "a record of another account names the erasure": "tampered",
    "the origin of an action on the person names the erasure": "tampered",
    "a record names an ordinary record as its erasure": "unproven",
    "a record names itself": "tampered",
    "a record names one that is cut off": "tampered",
    "a record names a future one": "tampered",
    "an erasure in the old format is appended": "tampered",
    "an erasure is forged": "tampered",
    "metadata is null and its salt stays": "tampered",
    "a salt is short": "tampered",
    "the action is changed": "tampered",
}


@pytest.mark.parametrize("attack", IN_PARTS)
def test_attack_is_found_in_a_partial_export(attacked: Log, attack: str) -> None:
    ATTACKS[attack](attacked)

    assert by_part(attacked) == IN_PARTS[attack]


@pytest.mark.parametrize("look", [by_verifier, by_service, in_ranges], ids=lambda look: look.__name__)
def test_erasure_of_an_account_that_was_never_deleted_is_unproven(
    attacked: Log, look: Callable[[Log], str]
) -> None:
    """The owner of the database can make the service erase anybody."""
    erase(attacked, BOB)
    assert look(attacked) == "unproven"

    attacked.add(deletion(BOB))
    assert look(attacked) == "ok"


def test_backdated_records_are_not_cut_off(attacked: Log) -> None:
    tables = ("records", "personal")
    attacked.tamper(
        *(f"UPDATE {one} SET received = '2026-01-31 00:00:00.000000+00:00' WHERE seq < 12" for one in tables)
    )
    cut(attacked.checkpoints, MARCH, months=1)

    with attacked.database.engine.connect() as connection:
        assert connection.execute(text("SELECT min(seq) FROM records")).scalar_one() == FIRST
    assert by_verifier(attacked) == "tampered"


def put(log: Log, seq: int) -> None:
    columns = "received, id, action, outcome, status, service, actor, resource, timestamp, origin, details"
    log.tamper(f"INSERT INTO records (seq, {columns}) SELECT {seq}, {columns} FROM records WHERE seq = 7")


def test_record_that_is_planted_before_the_cut_is_found(attacked: Log) -> None:
    put(attacked, 2)

    assert by_service(attacked) == "tampered"


def test_record_that_is_not_in_the_tree_is_found(attacked: Log) -> None:
    put(attacked, 500)

    assert by_service(attacked) == "tampered"
