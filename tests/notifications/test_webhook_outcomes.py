"""What responses of webhooks lead to: pauses, and webhooks that rest."""

from collections.abc import Callable
from typing import Any

import pytest

from services.notifications.settings import Settings
from services.notifications.webhooks.outcomes import ATTEMPTS_MAX, Outcome, of_answer, of_failure, put_off_by
from services.notifications.webhooks.sender import calls_to_webhooks
from services.notifications.webhooks.signing import signed_headers
from shared.peers.outbound import Answer, BadAddress, CallFailed

FAILED = Outcome("failed", "status_500", 500)


def test_signature_is_that_of_the_example_in_standard_webhooks() -> None:
    headers = signed_headers(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_pauses_double_with_jitter_and_end_after_the_last_attempt() -> None:
    for attempts in range(1, ATTEMPTS_MAX):
        usual = min(5 * 2 ** (attempts - 1), 12 * 3600)
        for _ in range(20):
            pause = put_off_by(FAILED, attempts, 5)
            assert pause is not None
            assert 0.8 * usual <= pause.total_seconds() <= 1.2 * usual
    assert put_off_by(FAILED, ATTEMPTS_MAX, 5) is None
    assert len({put_off_by(FAILED, 3, 5) for _ in range(20)}) > 1


@pytest.mark.parametrize(("status", "kind"), [(200, "delivered"), (204, "delivered"), (302, "failed")])
def test_only_a_status_of_200_to_299_is_a_delivery(status: int, kind: str) -> None:
    assert of_answer(Answer(status, {}, b"")).kind == kind


def test_retry_after_is_the_shortest_pause() -> None:
    outcome = of_answer(Answer(429, {"retry-after": "90"}, b""))
    pause = put_off_by(outcome, 1, 5)
    assert pause is not None
    assert pause.total_seconds() == 90


async def test_refused_address_and_unknown_name_have_one_code(
    make_settings: Callable[..., Any], auth_url: str
) -> None:
    outbound = calls_to_webhooks(make_settings(Settings, auth_url=auth_url))
    outcomes = []
    for url in ("https://10.0.0.7/", "https://name.invalid/"):
        try:
            await outbound.call("POST", url)
        except (BadAddress, CallFailed) as error:
            outcomes.append(of_failure(error))
    await outbound.close()

    assert outcomes == [Outcome("failed", "bad_address")] * 2
    assert of_failure(CallFailed("busy")).kind == "busy"
