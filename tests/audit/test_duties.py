"""The metrics of audit's duties: an alert tells that the log is no longer signed."""

import pytest
from prometheus_client import REGISTRY

from services.audit.caretaker import Duty
from shared.errors import Problem


def value(name: str, duty: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"duty": duty})


@pytest.mark.parametrize("error", [Problem("no"), RuntimeError("no")])
def test_successes_and_failures_of_duties_are_counted(error: Exception) -> None:
    name = f"sign {type(error).__name__}"

    def fail() -> None:
        raise error

    Duty(name, 60, fail).do_when_due()
    assert value("duty_failures_total", name) == 1
    assert value("duty_last_success_timestamp_seconds", name) is None
    Duty(name, 60, lambda: None).do_when_due()
    assert (value("duty_last_success_timestamp_seconds", name) or 0) > 0
    assert value("duty_failures_total", name) == 1
