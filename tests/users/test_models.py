"""How a profile follows its account."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.users.accounts import Account
from services.users.errors import ProfileDeleted
from services.users.models import PERSONAL, Profile, Status
from shared.ids import new_id

START = datetime(2026, 1, 1, tzinfo=UTC)
LIVING = st.sampled_from([Status.ACTIVE, Status.DISABLED])


def account(second: int, email: str, role: str, status: str) -> Account:
    gone = status == Status.DELETED
    return Account(
        id="01900000-0000-7000-8000-000000000000",
        email=None if gone else email,
        username=None,
        role=role,
        status=status,
        first_name=None if gone else "Ada",
        last_name=None,
        created=START,
        updated=START + timedelta(seconds=second),
    )


@st.composite
def histories(draw: st.DrawFn) -> list[Account]:
    """Return the states of one account over time: some active or disabled, perhaps one deleted at the end."""
    emails, roles = st.sampled_from(["a@x.org", "b@x.org", "c@x.org"]), st.sampled_from(["user", "admin"])
    said = draw(st.lists(st.tuples(emails, roles, LIVING), min_size=1, max_size=6))
    lived = [account(second, *state) for second, state in enumerate(said)]
    return [*lived, account(len(lived), "", "user", Status.DELETED)] if draw(st.booleans()) else lived


@given(histories(), st.randoms(use_true_random=False))
def test_newest_state_wins_in_any_order_of_arrival(history: list[Account], random: Random) -> None:
    arriving = [*history, *history]
    random.shuffle(arriving)
    profile = Profile.of(arriving[0])
    for news in arriving:
        profile.take_over(news)

    newest = history[-1]
    assert profile.email == newest.email
    assert profile.status == newest.status
    if newest.status == Status.DELETED:
        assert [getattr(profile, name) for name in PERSONAL] == [None] * len(PERSONAL)
        assert profile.search == ""
    else:
        assert profile.role == newest.role


def test_two_changes_with_the_same_timestamp_are_both_applied() -> None:
    profile = Profile.of(account(0, "a@x.org", "user", Status.ACTIVE))
    profile.take_over(account(0, "b@x.org", "user", Status.ACTIVE))

    assert profile.email == "b@x.org"
    assert profile.version == 2


def test_deleted_profile_stays_deleted() -> None:
    profile = Profile.of(account(0, "a@x.org", "user", Status.ACTIVE))
    profile.anonymise()
    profile.take_over(account(9, "a@x.org", "user", Status.ACTIVE))

    assert profile.is_deleted
    assert profile.email is None
    with pytest.raises(ProfileDeleted):
        profile.change({"bio": "x"})


def test_placeholder_of_a_deleted_account_is_not_copied() -> None:
    told = account(0, "", "user", Status.DELETED)
    profile = Profile.of(told.model_copy(update={"id": new_id(), "email": "deleted-7@invalid"}))

    assert profile.email is None
    assert profile.search == ""
