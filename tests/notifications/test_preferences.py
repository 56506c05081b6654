"""What people switch on and off."""

from typing import Any

import httpx
import pytest

from services.notifications.kinds import KINDS, Channel, NoticeType
from services.notifications.preferences import NO_CHOICES, Choices
from tests.notifications.support import is_usual, person, placed, stepped, tell

NO_ORDERS = {"choices": [{"type": "order.placed", "channel": "in_app", "on": False}]}


def test_choices_override_defaults_but_not_what_is_fixed() -> None:
    for name, kind in KINDS.items():
        for channel in Channel:
            off = Choices({name: {channel: False}})
            assert NO_CHOICES.wants(name, channel) == (channel in kind.on or channel in kind.fixed)
            assert off.wants(name, channel) == (channel in kind.fixed)
            assert Choices({name: {channel: True}}).wants(name, channel)


async def test_what_is_switched_off_is_not_stored_until_it_is_switched_on_again(
    client: httpx.AsyncClient,
) -> None:
    me, mine = person()
    off = (await client.put("/notifications/preferences", json=NO_ORDERS, headers=mine)).json()
    await tell(client, placed(me), stepped(me, "pending", "confirmed"), placed(person()[0]))

    assert (await client.get("/notifications/preferences", headers=mine)).json() == off
    changed = [one for one in off["choices"] if is_usual(one) and not one["on"]]
    assert {one["type"] for one in changed} == {"order.placed"}
    assert [one["type"] for one in off["choices"] if one["channel"] == "in_app"] == [*NoticeType]
    shown = (await client.get("/notifications", headers=mine)).json()
    assert [one["type"] for one in shown] == ["order.changed"]

    on = {"choices": [{**NO_ORDERS["choices"][0], "on": True}]}
    await client.put("/notifications/preferences", json=on, headers=mine)
    await tell(client, placed(me))
    assert len((await client.get("/notifications", headers=mine)).json()) == 2


async def test_preferences_of_others_are_their_own(client: httpx.AsyncClient) -> None:
    (_, mine), (_, theirs) = person(), person()
    before = (await client.get("/notifications/preferences", headers=theirs)).json()
    await client.put("/notifications/preferences", json=NO_ORDERS, headers=mine)

    assert (await client.get("/notifications/preferences", headers=theirs)).json() == before
    assert all(one["on"] == is_usual(one) for one in before["choices"])


async def test_type_that_is_always_on_is_refused_with_409_and_nothing_changes(
    client: httpx.AsyncClient,
) -> None:
    _, mine = person()
    choices = [*NO_ORDERS["choices"], {"type": "message", "channel": "in_app", "on": False}]
    refused = await client.put("/notifications/preferences", json={"choices": choices}, headers=mine)

    assert (refused.status_code, refused.json()["code"]) == (409, "always_on")
    assert refused.json()["notification_type"] == "message"
    shown = (await client.get("/notifications/preferences", headers=mine)).json()
    assert all(one["on"] == is_usual(one) for one in shown["choices"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "choices"),
        ({"choices": []}, "choices"),
        ({"choices": [{"type": "nothing", "channel": "in_app", "on": False}]}, "choices.0.type"),
        ({"choices": [{"type": "order.placed", "channel": "pigeon", "on": False}]}, "choices.0.channel"),
        ({"choices": [{"type": "order.placed", "channel": "in_app", "on": "no"}]}, "choices.0.on"),
        ({"choices": NO_ORDERS["choices"] * 101}, "choices"),
        ({**NO_ORDERS, "more": 1}, "more"),
    ],
)
async def test_malformed_preferences_are_refused_with_422(
    client: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    refused = await client.put("/notifications/preferences", json=body, headers=person()[1])

    assert refused.status_code == 422
    assert [one["field"] for one in refused.json()["errors"]] == [field]
