"""Shells in real containers: confinement, adoption after restarts, and output without losses."""

import asyncio
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import httpx
import pytest

from tests import support
from tests.terminal.support import Owner, Service
from tests.terminal.test_restarts import flood_over_kills

pytestmark = [pytest.mark.prove, pytest.mark.long(0.3)]
IMAGE = "python:3.11-slim-bookworm"
LABEL = "gatehouse.instance"
BOMB = """
import os, time
pids = []
try:
    while len(pids) < 200:
        pids.append(os.fork())
        if not pids[-1]:
            time.sleep(60)
            os._exit(0)
except BlockingIOError:
    print("refused after fewer than 64:", len(pids) < 64)
for pid in pids:
    os.kill(pid, 9)
""".strip()


@pytest.fixture(scope="module")
def docker() -> str:
    (program,) = support.need("docker")
    support.need_answer([program, "info"], "no Docker engine responds")
    support.need_answer([program, "image", "inspect", IMAGE], f"the engine has no image {IMAGE}")
    return program


@pytest.fixture(scope="module")
def service(docker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {"BOX_BACKEND": "docker", "BOX_IMAGE": IMAGE, "BOX_MEMORY": str(128 << 20)}
    settings |= {"BOX_TMP": str(32 << 20)}
    started = Service(
        tmp_path_factory.mktemp("docker"), HOLD_SECONDS="60", BOX_PIDS="64", BOXES_MAX="60", **settings
    )
    try:
        started.start()
        yield started
    finally:
        started.close()
        for container in containers(docker, started):
            run(docker, "rm", "-f", container)


def run(*command: str, check: bool = True) -> str:
    return subprocess.run(command, check=check, capture_output=True, text=True).stdout.strip()


def containers(docker: str, service: Service) -> list[str]:
    instance = service.folder / "terminal" / "instance"
    if not instance.exists():
        return []
    wanted = f"label={LABEL}={instance.read_text()}"
    return run(docker, "ps", "-aq", "--no-trunc", "--filter", wanted).split()


async def test_shell_in_a_container_is_confined_to_its_limits(
    service: Service, docker: str, owner: Owner
) -> None:
    session = await owner.open()
    assert (await owner.client.get("/terminal")).json()["isolation"] == "container"
    async with owner.watching(session) as screen:
        for line in (
            "stty -echo; PS1=",
            "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; id -u",
            "for x in /etc /gatehouse/holder /gatehouse/run; do touch $x/x && echo wro''te; done",
            "rm /gatehouse/run/link.sock </dev/null && echo remo''ved",
            "ls /sys/class/net | tr '\\n' ' '; ls /var/run/docker.sock; env | sort | tr '\\n' ' '",
            f"cat > bomb.py <<'END'\n{BOMB}\nEND\npython3 bomb.py",
            "python3 -c 'x = bytearray(300 << 20)'; echo memory=$?",
            "dd if=/dev/zero of=/tmp/x bs=1M count=400 2>&1 | grep -o 'No space'; rm -f /tmp/x",
            "echo kept > file; echo al''l",
        ):
            await screen.type(line + "\n")
        await screen.until(b"all\r\n")
    output = bytes(screen.output).decode()
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert f"{name}:\t0000000000000000" in output
    assert "NoNewPrivs:\t1" in output
    assert "Seccomp:\t2" in output
    assert "\r\n1000\r\n" in output
    assert "wrote" not in output
    assert "removed" not in output
    assert "\r\nlo ls: cannot access '/var/run/docker.sock'" in output
    assert "SECRET" not in output
    assert "memory=137" in output
    assert "refused after fewer than 64: True" in output
    assert len(containers(docker, service)) == 1
    await owner.client.post("/terminal/stop")
    assert containers(docker, service) == []
    async with owner.watching(await owner.open()) as screen:
        await screen.type("cat file\n")
        await screen.until(b"kept\r\n")


async def test_selftest_finds_no_way_out_of_a_container_and_leaves_nothing(
    service: Service, docker: str
) -> None:
    async with Owner(service.url, role="admin") as admin:
        host = (await admin.client.get("/terminal/admin/host")).json()
        before = containers(docker, service)
        tested = await admin.client.post("/terminal/admin/selftest", timeout=180)
    assert tested.status_code == 200, tested.text
    broken = [one for one in tested.json()["checks"] if not one["holds"]]
    assert (broken, tested.json()["holds"]) == ([], True)
    assert len(tested.json()["checks"]) > 25
    assert host["engine"]["version"]
    assert containers(docker, service) == before
    assert not [one for one in (service.folder / "terminal/homes").iterdir() if "selftest" in one.name]


async def test_output_of_a_container_survives_kills(service: Service) -> None:
    """Five kills by default; LENGTH=4 kills twenty times, during five megabytes."""
    kills = round(support.length(5))
    assert await flood_over_kills(service, lines=6_500 * kills, kills=kills) > 250_000 * kills


async def test_container_without_a_box_is_removed_but_not_those_of_other_instances(
    service: Service, docker: str, owner: Owner
) -> None:
    session = await owner.open()
    instance = (service.folder / "terminal" / "instance").read_text()
    begin = (docker, "run", "-d", "--network", "none", "--label")
    stray = run(*begin, f"{LABEL}={instance}", IMAGE, "sleep", "600")
    foreign = run(*begin, f"{LABEL}=another", IMAGE, "sleep", "600")
    try:
        service.kill()
        service.start()
        assert support.eventually(lambda: stray not in containers(docker, service), seconds=30)
        run(docker, "inspect", foreign)
        async with owner.watching(session) as screen:
            await screen.type("echo still''here\n")
            await screen.until(b"stillhere")
    finally:
        run(docker, "rm", "-f", stray, foreign, check=False)


async def test_boxes_started_one_after_another_all_have_every_limit(service: Service, docker: str) -> None:
    boxes = min(50, round(support.length(20)))  # fewer than BOXES_MAX
    before, began = {*containers(docker, service)}, time.monotonic()
    async with AsyncExitStack() as stack:
        owners = [await stack.enter_async_context(Owner(service.url)) for _ in range(boxes)]
        for owner in owners:
            await owner.open()
        seconds = time.monotonic() - began
        made = [one for one in containers(docker, service) if one not in before]
        found = json.loads(run(docker, "inspect", *made))
        stopped = await asyncio.gather(*(owner.client.post("/terminal/stop") for owner in owners))
    print(f"{boxes} boxes in {seconds:.1f} s")
    assert len(found) == boxes
    assert {one.status_code for one in stopped} == {204}
    for one in found:
        host = one["HostConfig"]
        limits = [host[name] for name in ("Memory", "MemorySwap", "PidsLimit", "NanoCpus", "OomScoreAdj")]
        assert limits == [128 << 20, 128 << 20, 64, 1_000_000_000, 500]
        assert (host["CapDrop"], host["CapAdd"], host["ReadonlyRootfs"]) == (["ALL"], None, True)
        assert (host["SecurityOpt"], host["NetworkMode"]) == (["no-new-privileges:true"], "none")
        assert (host["Privileged"], one["Config"]["User"], one["State"]["Running"]) == (
            False,
            "1000:1000",
            True,
        )
    assert {*containers(docker, service)} == before


async def test_viewer_is_notified_that_a_program_was_killed_for_its_memory(
    service: Service, owner: Owner
) -> None:
    async with owner.watching(await owner.open()) as screen:
        await screen.until_control("replay_end")
        await screen.type("python3 -c 'x = bytearray(300 << 20)'\n")
        notice = await screen.until_control("notice")
    assert (notice["code"], "128 MiB" in notice["message"]) == ("out_of_memory", True)


async def test_port_of_a_container_without_a_network_is_reached(service: Service, owner: Owner) -> None:
    async with owner.watching(await owner.open()) as screen:
        await screen.type("echo from-the-box > page; python3 -u -m http.server --bind 127.0.0.1 4000\n")
        await screen.until(b"Serving HTTP")
        made = await owner.client.post("/terminal/ports", json={"port": 4000, "visibility": "public"})
        host = urlsplit(made.json()["url"]).netloc
        async with httpx.AsyncClient(base_url=service.url, headers={"Host": host}) as browser:
            page = await browser.get("/page")
            listed = (await owner.client.get("/terminal/ports")).json()
            await owner.client.post("/terminal/stop")
            stopped = await browser.get("/page")
    assert (page.status_code, page.text) == (200, "from-the-box\n")
    assert [one["listening"] for one in listed] == [True]
    assert (stopped.status_code, stopped.json()["code"]) == (503, "box_stopped")


async def test_terminal_is_lost_when_its_container_is_killed_from_outside(
    service: Service, docker: str, owner: Owner
) -> None:
    session = await owner.open()
    async with owner.watching(session) as screen:
        await screen.until_control("replay_end")
        (container,) = containers(docker, service)
        run(docker, "kill", container)
        assert await screen.until_closed() == 1000
    assert (screen.controls[-1]["lost"], screen.controls[-1]["reason"]) == (True, "killed")
    assert (await owner.client.get("/terminal")).json()["reason"] == "killed"
    async with owner.watching(await owner.open()) as screen:
        await screen.type("echo a''gain\n")
        await screen.until(b"again")
