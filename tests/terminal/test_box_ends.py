"""Boxes that compute, run out of memory, or end without a request."""

import asyncio

import pytest

from services.terminal import tabs
from services.terminal.backends.base import BoxEvent, EventKind
from services.terminal.errors import EngineUnavailable
from services.terminal.viewers import Viewer
from services.terminal.workspace.walks import Usage
from shared.ids import new_id
from tests.terminal.world import World, age, state_of


async def test_box_that_computes_is_not_idle_until_it_has_stopped_for_a_minute(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = 1000.0
    monkeypatch.setattr("services.terminal.boxes.clock_of", lambda: moment)
    await world.boxes.ensure("ann")
    await world.database.run(age, "ann")
    for clock, cpu, state in (
        (1000.0, 10.0, "running"),  # nothing to compare with yet
        (1061.0, 30.0, "running"),  # a third of a processor
        (1100.0, 30.2, "running"),  # not a minute yet
        (1122.0, 30.3, "stopped"),
    ):
        moment, world.backend.cpu = clock, cpu
        await world.sweep()
        assert (await state_of(world, "ann"))["state"] == state


async def test_box_that_ends_without_a_request_loses_its_terminals_and_can_start_again(world: World) -> None:
    place = await world.boxes.ensure("ann")
    row = await world.database.run(lambda session: tabs.reserve(session, "ann", "1", 3))
    session = world.terminals._expect(row)
    world.backend.on_event(BoxEvent(place.box_id, EventKind.DIED))
    async with asyncio.timeout(30):
        await session.ended.wait()
        while (await state_of(world, "ann"))["state"] != "stopped":  # noqa: ASYNC110 - a row of the database
            await asyncio.sleep(0.01)
    assert session.exit is not None
    assert (session.exit.is_lost, session.exit.reason) == (True, "killed")
    assert (await state_of(world, "ann"))["reason"] == "killed"
    assert world.emitted() == [("ann", "killed")]
    await world.boxes.ensure("ann")
    assert (await state_of(world, "ann"))["state"] == "running"


async def test_box_that_is_stopped_emits_its_reason_once(world: World) -> None:
    place = await world.boxes.ensure("ann")
    await asyncio.gather(*(world.boxes.stop("ann", "user") for _ in range(3)))
    await world.boxes.ensure("ann")
    await world.boxes.stop_by_id(place.box_id, "admin")
    await world.boxes.ensure("ann")
    await world.database.run(age, "ann")
    await world.sweep()
    await world.boxes.ensure("ben")
    world.used = Usage(1201, 1)
    await asyncio.to_thread(world.disk_watch.check)

    assert (await state_of(world, "ann"))["state"] == "stopped"
    assert world.emitted() == [("ann", "user"), ("ann", "admin"), ("ann", "idle"), ("ben", "disk_full")]


async def test_box_that_cannot_start_emits_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: object) -> None:
        raise EngineUnavailable

    monkeypatch.setattr(world.backend, "ensure", fail)
    with pytest.raises(EngineUnavailable):
        await world.boxes.ensure("ann")

    assert (await state_of(world, "ann"))["reason"] == "failed"
    assert world.emitted() == []


async def test_viewers_are_notified_that_a_program_was_killed_for_its_memory(world: World) -> None:
    place = await world.boxes.ensure("ann")
    session = world.terminals._expect({"id": new_id(), "owner": "ann", "epoch": "1"})
    viewer = Viewer(may_write=True)
    session.viewers.add(viewer)
    world.backend.on_event(BoxEvent(place.box_id, EventKind.OUT_OF_MEMORY))
    async with asyncio.timeout(30):
        await viewer.wake.wait()
    assert '"code":"out_of_memory"' in viewer.controls[0]
    assert "1024 MiB" in viewer.controls[0]
    session.viewers.clear()
