"""What counts as used: folders that are closed to us, deleted files that are open, folders of an upload."""

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from sqlmodel import Session

from services.terminal.holder.unlinked import unlinked_bytes
from services.terminal.models import Visibility
from services.terminal.ports import leases
from services.terminal.workspace import batches
from services.terminal.workspace.tree import Tree
from services.terminal.workspace.walks import Meter
from shared.caller import Caller
from tests.terminal.support import Owner
from tests.terminal.test_batches import begin
from tests.terminal.world import World, state_of

NOBODY = 65534
MIB = 1 << 20


def as_another_user(work: Callable[[], int], folder: Path) -> int:
    """Call `work` in a process without root's rights, which owns everything below the folder."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    here, there = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os.write(there, str(work()).encode())
        finally:
            os._exit(0)
    os.close(there)
    os.waitpid(pid, 0)
    with os.fdopen(here) as answer:
        return int(answer.read())


def test_folders_without_permissions_hide_no_files_from_a_service_that_is_not_root(tmp_path: Path) -> None:
    for mode in (0o300, 0o600, 0o000):
        closed = tmp_path / f"{mode:o}"
        (closed / "below").mkdir(parents=True)
        (closed / "below" / "file").write_bytes(bytes(MIB))
        closed.chmod(mode)
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)

    def measure() -> int:
        meter = Meter(1000)
        meter.add(descriptor)
        return meter.bytes

    measured = as_another_user(measure, tmp_path) if os.getuid() == 0 else measure()
    modes = [one.stat().st_mode & 0o777 for one in sorted(tmp_path.iterdir())]
    os.close(descriptor)
    for one in tmp_path.iterdir():
        one.chmod(0o700)

    assert measured >= 3 * MIB
    assert modes == [0o000, 0o300, 0o600]


def test_deleted_file_counts_as_long_as_it_is_open(tmp_path: Path) -> None:
    home, other = tmp_path / "home", tmp_path / "home2"
    home.mkdir()
    other.mkdir()
    with (home / "a").open("wb") as mine, (other / "b").open("wb") as foreign:
        for file in (mine, foreign):
            file.write(os.urandom(MIB))
            file.flush()
            os.fsync(file.fileno())
        assert unlinked_bytes(str(home)) == 0
        for path in (home / "a", other / "b"):
            path.unlink()
        again = os.dup(mine.fileno())
        assert MIB <= unlinked_bytes(str(home)) < 2 * MIB
        os.close(again)
    assert unlinked_bytes(str(home)) == 0


async def test_box_with_large_deleted_files_is_stopped_and_starts_again(world: World) -> None:
    await world.boxes.ensure("ann")
    world.backend.unlinked = 1201
    await world.disk_watch._check_all()
    box = await state_of(world, "ann")
    assert (box["state"], box["reason"]) == ("stopped", "disk_full")
    world.backend.unlinked = 0
    await world.boxes.ensure("ann")
    assert (await state_of(world, "ann"))["state"] == "running"
    assert world.quota.left("ann").bytes == 1000


async def test_folders_of_an_upload_count_before_its_content_is_sent(owner: Owner) -> None:
    deep = "a/" * 90
    full = await begin(owner, {f"{number}/{deep}f": 0 for number in range(2300)})
    assert (full.status_code, full.json()["code"]) == (507, "home_full")
    assert (await owner.client.get("/terminal/files/usage")).json()["entries"] == 0


def test_only_folders_that_do_not_exist_are_counted(tmp_path: Path) -> None:
    (tmp_path / "home" / "there" / "too").mkdir(parents=True)
    with Tree(tmp_path / "home", tmp_path / "area") as tree:
        paths = ["there/too/new/f", "there/new/f", "there/new/g", "f"]
        assert batches.missing_folders(tree, paths, 10) == 2


def test_counting_of_folders_stops_above_the_limit_and_takes_little_memory(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    with Tree(tmp_path / "home", tmp_path / "area") as tree:
        entries = [(f"{number}/" + "a/" * 90 + "f", 0) for number in range(20_000)]
        tracemalloc.start()
        counted = batches.folders_for(tree, (), entries, 5_000)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert 5_000 < counted < 5_100
    assert peak < 10 * MIB


async def test_deleted_files_no_longer_count_after_their_box_has_stopped(world: World) -> None:
    await world.boxes.ensure("ann")
    world.backend.unlinked = 500
    await world.disk_watch._check_all()
    while_running = world.quota.left("ann").bytes
    await world.boxes.stop("ann", "user")

    assert (while_running, world.quota.left("ann").bytes) == (500, 1000)


def person(name: str) -> Caller:
    return Caller(name, "user", name, None, f"session of {name}", frozenset(), 0.0)


async def test_visits_of_a_revoked_caller_are_deleted(world: World) -> None:
    wanted = {"port": 3000, "name": None, "visibility": Visibility.MEMBERS, "hours": 1}

    def visit(session: Session) -> tuple[str, list[str]]:
        row = leases.lease(session, "ann", wanted, 5)
        tickets = [leases.invite(session, row, person(name))[0] for name in ("ann", "bob")]
        entered = [leases.enter(session, row["host"], ticket) for ticket in tickets]
        return row["host"], [one[0] for one in entered if one is not None]

    host, cookies = await world.database.run(visit)
    await world.database.run(leases.forget_revoked, lambda caller: caller.id == "bob")
    visitors = [(await world.database.read(leases.resolve, host, [one])).visitor for one in cookies]

    assert [one and one.id for one in visitors] == ["ann", None]
