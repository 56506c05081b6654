"""Well-formed records that the owner of the database appends, and that no program can read."""

from pathlib import Path
from typing import Any

import pytest

from services.audit import log as log_module
from services.audit.log import append
from services.audit.statements import HOLD_LIFTED, LOG_OPENED, PERSON_ERASED
from services.audit.verifier import main
from tests.audit.attacks import actions, by_service, by_verifier, deletion, erase, opened
from tests.audit.support import ALICE, BOB, Log, entry

LEVELS = [300, 3_000]  # too deep for the JSON writer of exports, and for any parser
NOT_JSON = "{"


def nested(levels: int) -> str:
    return '{"a":' + "[" * levels + "]" * levels + "}"


def append_with(log: Log, metadata: str, **changes: Any) -> None:
    """Append a record with this text as metadata; the service would not store it."""
    with pytest.MonkeyPatch.context() as patched, log.database.transaction() as session:
        patched.setattr(log_module, "canonical", lambda _value: metadata)
        append(session, [entry(**changes)])


def append_statement(log: Log, metadata: str, action: str, resource: str) -> None:
    append_with(log, metadata, user_id=None, actor="log", service="audit", action=action, resource=resource)


@pytest.mark.parametrize("levels", LEVELS)
def test_record_that_no_export_can_hold_is_reported(log: Log, tmp_path: Path, levels: int) -> None:
    """Every export ended in the middle, while the service reported an intact log."""
    log.add(entry(BOB))
    append_with(log, nested(levels))
    (tmp_path / "export").write_bytes(b"".join(log.lines()))

    assert by_service(log) == "tampered"
    assert main([str(tmp_path / "export"), "--key", log.keys[0].text]) == 1


def test_record_with_the_deepest_values_that_the_log_stores_is_intact(log: Log) -> None:
    value: Any = 1
    for _ in range(100):
        value = [value] * 2 if isinstance(value, int) else [value]
    log.add(entry(metadata={"a": value, "b": [[{}] for _ in range(500)]}))

    assert (by_service(log), by_verifier(log)) == ("ok", "ok")


@pytest.mark.parametrize("metadata", [nested(3_000), NOT_JSON])
def test_unreadable_statement_does_not_stop_a_check(
    log: Log, monkeypatch: pytest.MonkeyPatch, metadata: str
) -> None:
    opened(log).sign()
    append_statement(log, metadata, HOLD_LIFTED, BOB)
    with monkeypatch.context() as patched:
        patched.setattr(log.checkpoints, "make", lambda **_: None)
        assert by_service(log) == "ok", "it is newer than the check"

    assert by_service(log) == "tampered"


@pytest.mark.parametrize("metadata", [nested(3_000), NOT_JSON])
def test_unreadable_statement_does_not_stop_erasures(log: Log, metadata: str) -> None:
    """The account itself is erased, and so are those after it."""
    opened(log).add(entry(BOB), entry(ALICE), deletion(BOB), deletion(ALICE))
    append_statement(log, metadata, HOLD_LIFTED, BOB)
    erase(log, BOB, ALICE)

    assert actions(log).count(PERSON_ERASED) == 2


@pytest.mark.parametrize("metadata", [nested(3_000), NOT_JSON])
def test_unreadable_statement_does_not_stop_the_start(log: Log, metadata: str) -> None:
    append_statement(log, metadata, LOG_OPENED, "audit")
    opened(log)

    assert actions(log) == [LOG_OPENED] * 2
    assert by_service(log) == "tampered"
