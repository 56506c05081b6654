"""Which messages are sent in a turn: slow webhooks leave slots to others, and big backlogs are postponed."""

from datetime import timedelta

from services.notifications.webhooks.turns import (
    CALLS_MAX,
    CALLS_PER_ACCOUNT,
    CALLS_PER_WEBHOOK,
    KEPT_DUE,
    LOOKED_AT,
    Active,
    Due,
    planned,
)
from shared.clock import now

AT = now()


def due(webhook: str, account: str, number: int, *, enabled: bool = True) -> list[Due]:
    return [Due(f"{webhook}-{i}", webhook, account, enabled, None) for i in range(number)]


def test_account_with_several_slow_webhooks_leaves_slots_to_other_accounts() -> None:
    slow = [one for hook in "abcd" for one in due(hook, "slow", 10)]
    plan = planned([*slow, *due("z", "other", 1)], CALLS_MAX, Active(), AT)

    assert len(plan.claimed) == CALLS_PER_ACCOUNT + 1
    assert plan.claimed[-1] == "z-0"
    assert 2 * CALLS_PER_ACCOUNT < CALLS_MAX


def test_calls_in_progress_count_and_their_end_frees_a_slot() -> None:
    active = Active()
    for _ in range(CALLS_PER_WEBHOOK):
        active.begin("a", "slow")
    messages = due("a", "slow", 10)
    assert planned(messages, CALLS_MAX, active, AT).is_empty

    active.end("a", "slow")
    assert planned(messages, CALLS_MAX, active, AT).claimed == ["a-0"]


def test_only_a_backlog_that_could_hide_others_is_put_off_and_its_oldest_stay_due() -> None:
    active = Active()
    for _ in range(CALLS_PER_WEBHOOK):
        active.begin("a", "slow")
    few = planned(due("a", "slow", LOOKED_AT - 1), CALLS_MAX, active, AT)
    many = planned(due("a", "slow", LOOKED_AT), CALLS_MAX, active, AT)

    assert few.is_empty
    assert many.crowding == [f"a-{i}" for i in range(KEPT_DUE, LOOKED_AT)]


def test_messages_of_resting_webhooks_are_put_off_together() -> None:
    until = AT + timedelta(minutes=1)
    resting = [Due(f"r-{i}", "r", "slow", True, until) for i in range(20)]
    plan = planned([*resting, *due("z", "other", 1)], CALLS_MAX, Active(), AT)

    assert plan.claimed == ["z-0"]
    assert plan.resting == {until: [one.work_id for one in resting]}


def test_messages_of_disabled_and_deleted_webhooks_are_claimed_to_be_ended() -> None:
    gone = [Due(f"g-{i}", None, None, None, None) for i in range(8)]
    plan = planned([*due("d", "slow", 8, enabled=False), *gone], CALLS_MAX, Active(), AT)

    assert len(plan.claimed) == CALLS_MAX
