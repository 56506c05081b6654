"""What a sender may send, and the operation that receives it."""

from typing import Any

import pytest
from pydantic import ValidationError

from shared.events import Events
from shared.events.event import EVENT_BYTES_MAX
from shared.events.signing import Signatures
from shared.events.spine import RECEIVED_MAX
from shared.identity.tokens import admin, internal
from shared.testing import TEST_INTERNAL_SECRET
from tests.shared.events.conftest import TABLES
from tests.shared.events.things import Counted, apply, envelope
from tests.shared.notes.app import Settings


@pytest.mark.parametrize(
    ("name", "most"), [("id", 36), ("topic", 100), ("key", 300), ("source", 50), ("request_id", 128)]
)
def test_field_of_an_event_may_be_as_long_as_its_column_and_not_longer(name: str, most: int) -> None:
    values: dict[str, Any] = {name: "x" * most}
    assert getattr(envelope(1, **{"topic": "thing.counted", **values}), name) == "x" * most
    with pytest.raises(ValidationError):
        envelope(1, **{"topic": "thing.counted", name: "x" * (most + 1)})


@pytest.mark.parametrize("name", ["id", "topic"])
def test_event_without_an_id_or_a_topic_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        envelope(1, **{"topic": "thing.counted", name: ""})


def test_events_are_received_by_one_internal_operation_that_leaves_no_record() -> None:
    receive, *others = Events(TABLES, {Counted: apply}, {}).operations("counting")

    assert (receive.method, receive.path, receive.status) == ("POST", "/internal/events", 204)
    assert receive.access is internal
    assert not receive.recorded
    assert {one.access for one in others} == {admin}
    assert RECEIVED_MAX * EVENT_BYTES_MAX < receive.body_bytes_max < 2 * RECEIVED_MAX * EVENT_BYTES_MAX


def test_service_that_consumes_nothing_receives_nothing() -> None:
    paths = [one.path for one in Events(TABLES, {}, {}).operations("counting")]

    assert paths
    assert all(path.startswith("/events/counting") for path in paths)


def test_signatures_of_a_service_use_its_secrets_the_newest_first() -> None:
    secrets = [TEST_INTERNAL_SECRET, "the secret before that one, which is long enough"]
    values = {"internal_secret": secrets[0], "internal_secret_previous": secrets[1]}
    signatures = Signatures.of(Settings.model_validate(values))

    assert signatures.source == "notes"
    assert signatures.sign(b"event") == Signatures("notes", secrets[0]).sign(b"event")
    for secret in secrets:
        assert signatures.holds(b"notes", b"event", Signatures("notes", secret).sign(b"event").encode())
    assert not signatures.holds(b"notes", b"event", Signatures("notes", "another").sign(b"event").encode())
