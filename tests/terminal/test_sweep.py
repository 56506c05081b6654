"""Sweeping of boxes that are idle or whose account was deleted or disabled."""

import asyncio
import socket
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from contracts.events import AccountChanged, AccountDeleted
from services.terminal.backends.docker import DockerBackend
from services.terminal.boxes import Boxes
from services.terminal.errors import EngineUnavailable, HomeFull, NoCapacity, ShellNotStarted
from services.terminal.events import end_boxes_of_deleted, end_boxes_of_disabled
from services.terminal.models import PORTS, TERMINALS, TRASH
from services.terminal.ports import leases
from services.terminal.ports.tunnels import BoxTunnels, Tunnels
from services.terminal.settings import Settings
from services.terminal.viewers import Viewer
from services.terminal.workspace.trash import TrashCan
from services.terminal.workspace.tree import Tree
from services.terminal.workspace.walks import Usage
from services.terminal.workspace.workspaces import Workspaces
from shared.clock import now
from shared.ids import new_id
from shared.process.disk import Disk
from tests.terminal.world import Still, World, age, state_of


async def test_box_without_activity_is_stopped_and_can_start_again(world: World) -> None:
    await world.boxes.ensure("ann")
    await world.sweep()
    assert (await state_of(world, "ann"))["state"] == "running"
    await world.database.run(age, "ann")
    await world.sweep()
    stopped = await state_of(world, "ann")
    assert (stopped["state"], stopped["reason"]) == ("stopped", "idle")
    place = await world.boxes.ensure("ann")
    assert place.box_id == stopped["id"]
    assert (await state_of(world, "ann"))["state"] == "running"


async def test_box_with_an_open_connection_to_a_port_is_not_idle(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.boxes.ensure("ann")
    await world.database.run(age, "ann")
    monkeypatch.setattr(world.tunnels, "last_used", lambda _box_id: asyncio.get_running_loop().time())
    await world.sweep()
    assert (await state_of(world, "ann"))["state"] == "running"


async def test_expired_lease_is_deleted_and_its_connections_end(world: World) -> None:
    one, other = socket.socketpair()
    place = await world.boxes.ensure("ann")
    tunnels = world.tunnels._boxes[place.box_id] = BoxTunnels(place, Still())
    tunnels.streams[one] = 3000
    wanted = {"port": 3000, "name": None, "visibility": "private", "hours": -1}
    await world.database.run(leases.lease, "ann", wanted, 1)
    await world.sweep()
    other.settimeout(30)
    ended = await asyncio.to_thread(other.recv, 1)
    one.close()
    other.close()
    assert ended == b""
    assert await world.database.read(lambda session: session.connection().execute(PORTS.select()).all()) == []


async def test_more_boxes_than_allowed_are_refused(world: World) -> None:
    await world.boxes.ensure("ann")
    await world.boxes.ensure("bob")
    await world.boxes.ensure("ann")
    with pytest.raises(NoCapacity):
        await world.boxes.ensure("eve")
    await world.boxes.stop("bob", "user")
    await world.boxes.ensure("eve")


@pytest.mark.parametrize("used", [Usage(1201, 1), Usage(1, 13)])
async def test_box_whose_home_is_far_too_large_is_stopped_and_starts_after_files_were_deleted(
    world: World, used: Usage
) -> None:
    await world.boxes.ensure("ann")
    world.used = used
    await asyncio.to_thread(world.disk_watch.check)
    stopped = await state_of(world, "ann")
    assert (stopped["state"], stopped["reason"]) == ("stopped", "disk_full")
    with pytest.raises(HomeFull):
        await world.boxes.ensure("ann")
    world.used = Usage(900, 9)
    await world.boxes.ensure("ann")
    assert (await state_of(world, "ann"))["state"] == "running"


async def test_viewers_are_notified_once_that_the_home_is_full(world: World) -> None:
    await world.boxes.ensure("ann")
    viewer = Viewer(may_write=True)
    session = world.terminals._expect({"id": new_id(), "owner": "ann", "epoch": "e"})
    session.viewers.add(viewer)
    for used, notices in ((1001, 1), (1100, 1), (900, 1), (1001, 2)):
        world.used = Usage(used, 1)
        await asyncio.to_thread(world.disk_watch.check)
        assert len(viewer.controls) == notices
    assert '"home_full"' in viewer.controls[0]


async def test_box_of_a_deleted_account_is_removed_with_its_home(world: World) -> None:
    place, other = await world.boxes.ensure("ann"), await world.boxes.ensure("bob")
    await world.tell(end_boxes_of_deleted, AccountDeleted(account_id="ann", deleted=now()))
    await world.sweep()

    assert await world.boxes.show("ann") is None
    assert not place.home.exists()
    assert (other.home / "kept").exists()
    assert [one.name for one in other.home.parent.iterdir()] == ["bob"]


async def test_files_of_a_deleted_account_are_removed_although_its_box_never_ran(world: World) -> None:
    workspaces = Workspaces(
        world.database, world.places, world.settings, Disk("workspaces", world.settings.homes, 0)
    )
    async with workspaces:
        trash = TrashCan(world.database, workspaces, days=7)
        for name in ("kept", "thrown away"):
            await workspaces.run("ann", Tree.make_folder, (name,))
        await trash.put("ann", ("thrown away",))
        home, area = world.places.home_of("ann"), world.places.area_of("ann")
        assert [one.name for one in home.iterdir()] == ["kept"]
        assert len([*(area / "trash").iterdir()]) == 1
        await world.tell(end_boxes_of_deleted, AccountDeleted(account_id="ann", deleted=now()))
        await world.sweep()
    assert (home.exists(), area.exists()) == (False, False)
    assert await rows_of(world, TRASH) == []


async def test_expired_trash_and_what_a_crash_left_are_removed(world: World) -> None:
    workspaces = Workspaces(
        world.database, world.places, world.settings, Disk("workspaces", world.settings.homes, 0)
    )
    async with workspaces:
        trash = TrashCan(world.database, workspaces, days=7)
        for name in ("old", "new"):
            await workspaces.run("ann", Tree.make_folder, (name, "below"))
            await trash.put("ann", (name,))
        await world.database.run(expire, "old")
        await asyncio.to_thread(trash.sweep)
        (left,) = await rows_of(world, TRASH)
        area = world.places.area_of("ann")
        assert (left["path"], [one.name for one in (area / "trash").iterdir()]) == ("new", [left["id"]])
        for folder in ("staging", "gone", "batches"):
            (area / folder / "unfinished").mkdir(parents=True)
        await asyncio.to_thread(workspaces.remove_leftovers)
        assert len([*area.glob("*/unfinished")]) == 3
        await asyncio.to_thread(workspaces.remove_leftovers, -1.0)
        assert [one.name for one in area.glob("*/*")] == [left["id"]]


async def test_home_that_fails_does_not_stop_the_sweep_of_other_trash(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspaces = Workspaces(
        world.database, world.places, world.settings, Disk("workspaces", world.settings.homes, 0)
    )
    at_once = workspaces.at_once

    def failing(owner: str, *args: Any) -> Any:
        if owner == "ann":
            raise PermissionError(13, "denied")
        return at_once(owner, *args)

    async with workspaces:
        trash = TrashCan(world.database, workspaces, days=7)
        for owner in ("ann", "bob"):
            await workspaces.run(owner, Tree.make_folder, ("old",))
            await trash.put(owner, ("old",))
        await world.database.run(expire, "old")
        with monkeypatch.context() as patch:
            patch.setattr(workspaces, "at_once", failing)
            await asyncio.to_thread(trash.sweep)
    (left,) = await rows_of(world, TRASH)

    assert [*(world.places.area_of("bob") / "trash").iterdir()] == []
    assert left["owner"] == "ann"
    assert now() < left["until"] <= now() + timedelta(days=1), "it is tried again later"


def expire(session: Any, path: str) -> None:
    past = TRASH.update().where(TRASH.c.path == path).values(until=now() - timedelta(seconds=1))
    session.connection().execute(past)


async def rows_of(world: World, table: Any) -> list[dict[str, Any]]:
    def read(session: Any) -> list[dict[str, Any]]:
        return [row._asdict() for row in session.connection().execute(table.select())]

    return await world.database.read(read)


async def test_box_of_a_disabled_account_is_stopped_and_keeps_its_home(world: World) -> None:
    place = await world.boxes.ensure("ann")
    for status, state in (("active", "running"), ("disabled", "stopped")):
        await world.tell(end_boxes_of_disabled, account(status))
        await world.sweep()
        assert (await state_of(world, "ann"))["state"] == state
    assert (place.home / "kept").exists()
    await world.boxes.ensure("ann")  # after it is enabled again
    await world.sweep()
    assert (await state_of(world, "ann"))["state"] == "running"


def account(status: str) -> AccountChanged:
    return AccountChanged(
        account_id="ann",
        email=None,
        username="ann",
        role="user",
        status=status,
        first_name=None,
        last_name=None,
        created=now(),
        updated=now(),
    )


async def test_shell_that_does_not_start_leaves_the_tab_free(world: World) -> None:
    place = await world.boxes.ensure("ann")
    for _ in range(2):
        with pytest.raises(ShellNotStarted):
            await world.terminals.open(place, "1", 24, 80)
    deadline = time.monotonic() + 5
    while await world.database.read(states) != {"lost"}:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def states(session: Any) -> set[str]:
    return {row.state for row in session.connection().execute(TERMINALS.select())}


async def test_home_of_an_account_with_an_unsafe_id_stays_inside_the_homes_directory(world: World) -> None:
    for owner in ("../../etc", "", ".", "a/b", "x" * 65, "a\x00b"):
        place = world.places.of(new_id(), owner)
        assert place.home.parent == world.settings.homes
        assert len(place.home.name) == 64


def test_unisolated_shells_are_refused_in_production_and_off_loopback(tmp_path: Path) -> None:
    values = {"environment": "production", "internal_secret": "3f" * 16 + "9a71c2", "data_dir": tmp_path}
    with pytest.raises(ValueError, match="isolates nothing"):
        Settings.model_validate({**values, "box_backend": "process"})
    with pytest.raises(ValueError, match="loopback"):
        Settings.model_validate({"host": "0.0.0.0", "data_dir": tmp_path, "docker_socket": "/nowhere"})


async def test_box_without_an_engine_is_refused_and_marked_as_failed(world: World) -> None:
    settings = world.settings.model_copy(update={"docker_socket": str(world.settings.data_dir / "no.sock")})
    backend = DockerBackend(settings)
    tunnels = Tunnels(backend)
    boxes = Boxes(world.database, backend, world.places, world.terminals, settings, world.quota, tunnels)
    await backend.adopt([])
    with pytest.raises(EngineUnavailable):
        await boxes.ensure("ann")
    await backend.close()
    box = await state_of(world, "ann")
    assert (box["state"], box["reason"]) == ("stopped", "failed")


async def test_cancelled_request_waits_for_the_thread_that_works_on_its_files(world: World) -> None:
    """Otherwise it would close a descriptor that the thread is writing to, and another request may get it."""
    disk = Disk("workspaces", world.settings.homes, 0)
    async with Workspaces(world.database, world.places, world.settings, disk) as workspaces:
        begun, goes_on, ended = threading.Event(), threading.Event(), threading.Event()

        def work() -> None:
            begun.set()
            goes_on.wait()
            ended.set()

        request = asyncio.create_task(workspaces.in_thread(work))
        await asyncio.to_thread(begun.wait)
        request.cancel()
        asyncio.get_running_loop().call_later(0.05, goes_on.set)
        with pytest.raises(asyncio.CancelledError):
            await request
        assert ended.is_set()
