"""Docker backend: one hardened container per box, checked after its creation and found by its labels."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import structlog
from aiodocker import Docker
from aiodocker.exceptions import DockerError

from services.terminal.backends import spec
from services.terminal.backends.base import (
    BoxEvent,
    EventKind,
    Isolation,
    Place,
    Start,
    ignore_event,
)
from services.terminal.errors import EngineUnavailable, ShellNotStarted
from services.terminal.holder import PORTS_SOCKET, PROGRAM, RELAY, UNLINKED
from services.terminal.links import SOCKET_NAME
from services.terminal.places import prepare_home, require_no_links
from services.terminal.settings import Settings
from shared.ids import new_id
from shared.process.tasks import end

CALL_SECONDS = 20.0
STOP_SECONDS = 5
OUTPUT_BYTES_MAX = 64 * 1024
LINGER_SECONDS = 600
EVENTS_AGAIN_SECONDS = 1.0

log = structlog.get_logger(__name__)


class DockerBackend:
    """Manages containers through the Docker Engine API. Terminal data does not pass through it."""

    name = "docker"
    isolation: Isolation = "container"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._docker: Docker | None = None
        self.on_event: Callable[[BoxEvent], None] = ignore_event
        self.running: dict[str, str] = {}  # box id: container id
        self._following: asyncio.Task[None] | None = None
        self._instance = ""
        self._network = ""

    async def adopt(self, places: Sequence[Place]) -> None:
        """Find the previous process's containers, and remove those that belong to no box."""
        self._instance = await asyncio.to_thread(_instance_of, self._settings.root / "instance")
        known = {place.box_id for place in places}
        try:
            self.running = await self._found_running(known)
        except EngineUnavailable:  # boxes may be running anyway, and their holders connect on their own
            self.running = dict.fromkeys(known, "")
        if self._following is None:
            self._following = asyncio.create_task(self._follow_events())

    async def _found_running(self, known: set[str]) -> dict[str, str]:
        running = {}
        async with self._engine() as docker:
            for container in await docker.containers.list(all=True, filters=self._mine()):
                box_id = container["Labels"].get(f"{spec.LABEL}box", "")
                if box_id not in known:
                    log.warning("unknown_container_removed", container_id=container.id)
                    await container.delete(force=True)
                elif container["State"] == "running":
                    running[box_id] = container.id
        return running

    async def _follow_events(self) -> None:
        """Report what happens to boxes; after a gap, compare what is running with what should be."""
        filters = {**self._mine(), "type": ["container"], "event": ["die", "oom"]}
        is_down = False
        while True:
            try:
                async for event in self._events(json.dumps(filters)):
                    is_down = False
                    box_id = event["Actor"]["Attributes"].get(f"{spec.LABEL}box", "")
                    self._note(event["Action"], box_id, event["Actor"]["ID"])
            except (
                DockerError,
                aiohttp.ClientError,
                OSError,
                EngineUnavailable,
                LookupError,
                ValueError,
            ) as error:
                if not is_down:
                    log.warning("engine_events_lost", error=repr(error)[:500])
                is_down = True
            await asyncio.sleep(EVENTS_AGAIN_SECONDS)

    async def _events(self, filters: str) -> AsyncIterator[dict[str, Any]]:
        session = self._client().session
        forever = aiohttp.ClientTimeout(total=None, connect=CALL_SECONDS)
        url, params = "http://engine/v1.41/events", {"filters": filters}
        async with session.get(url, params=params, timeout=forever) as response:
            response.raise_for_status()
            await self._note_missing()  # boxes that ended before these events begin
            async for line in response.content:
                if line.strip():
                    yield json.loads(line)

    async def _note_missing(self) -> None:
        expected = dict(self.running)
        async with self._engine() as docker:
            listed = await docker.containers.list(filters=self._mine())
        running = {container["Labels"].get(f"{spec.LABEL}box", "") for container in listed}
        for box_id, container_id in expected.items():
            if box_id not in running:
                self._note("die", box_id, container_id)

    def _note(self, action: str, box_id: str, container_id: str) -> None:
        known = self.running.get(box_id)
        if known is None or known not in ("", container_id):
            return  # stopped by us, or an earlier container
        if action == "die":
            del self.running[box_id]
            log.warning("box_died", box_id=box_id)
            self.on_event(BoxEvent(box_id, EventKind.DIED))
        elif action == "oom":
            log.warning("box_out_of_memory", box_id=box_id)
            self.on_event(BoxEvent(box_id, EventKind.OUT_OF_MEMORY))

    def _mine(self, **labels: str) -> dict[str, list[str]]:
        wanted = {"instance": self._instance, **labels}
        return {"label": [f"{spec.LABEL}{name}={value}" for name, value in wanted.items()]}

    @asynccontextmanager
    async def _engine(self, seconds: float = CALL_SECONDS) -> AsyncIterator[Docker]:
        """Provide the engine's client; any failure of the engine becomes EngineUnavailable."""
        docker = self._client()
        try:
            async with asyncio.timeout(seconds):
                yield docker
        except (DockerError, aiohttp.ClientError, OSError, TimeoutError) as error:
            log.warning("engine_failed", error=repr(error)[:500])
            raise EngineUnavailable from error

    def _client(self) -> Docker:
        if self._docker is None:
            connector = aiohttp.UnixConnector(path=self._settings.docker_socket, limit=0)
            session = aiohttp.ClientSession(connector=connector)
            self._docker = Docker(
                url=f"unix://{self._settings.docker_socket}", session=session, api_version="v1.41"
            )
        return self._docker

    async def ensure(self, place: Place) -> None:
        async with self._engine() as docker:
            wanted = spec.body(
                place,
                self._settings,
                instance=self._instance,
                user=await asyncio.to_thread(self._prepared, place),
                network=await self._ready_network(docker),
            )
            container_id = await self._found(docker, place, wanted) or await self._made(docker, place, wanted)
            self.running[place.box_id] = container_id

    def _prepared(self, place: Place) -> str:
        """Create the home and return its user, unless the engine would mount another directory."""
        mounted = (place.home, place.run, self._settings.holder)
        if self._settings.box_broker == "separate":  # as the service's child it has the service's rights
            require_no_links(self._settings, *mounted)
        user = prepare_home(place.home, for_container=True)
        if self._settings.box_broker == "separate":
            require_no_links(self._settings, *mounted)
        return user

    async def _found(self, docker: Docker, place: Place, wanted: dict[str, Any]) -> str | None:
        """Return the running container of a box; remove those that are stopped or differ from the spec."""
        kept = None
        for container in await docker.containers.list(all=True, filters=self._mine(box=place.box_id)):
            shown = await container.show()
            is_good = shown["State"]["Running"] and not spec.differences(wanted, shown)
            if is_good and kept is None:
                kept = container.id
            else:
                await container.delete(force=True)
        return kept

    async def _made(self, docker: Docker, place: Place, wanted: dict[str, Any]) -> str:
        name = f"gh-{self._instance[-8:]}-{place.box_id}"  # only for humans; lookups use the labels
        container = await docker.containers.create(wanted, name=name)
        try:
            faults = spec.differences(wanted, await container.show())
            if faults:
                log.error("container_refused", box_id=place.box_id, differences=faults)
                raise EngineUnavailable  # noqa: TRY301 - the handler below removes it
            await container.start()
        except BaseException:
            await container.delete(force=True)
            raise
        return str(container.id)

    async def _ready_network(self, docker: Docker) -> str:
        if self._settings.box_network == "none":
            return "none"
        name = f"gh-{self._instance[-8:]}-{self._settings.box_network}"
        if self._network != name:
            try:
                await docker.networks.get(name)
            except DockerError:
                await docker.networks.create(
                    {
                        "Name": name,
                        "CheckDuplicate": True,
                        "Driver": "bridge",
                        "Internal": self._settings.box_network == "internal",
                        "Options": {"com.docker.network.bridge.enable_icc": "false"},
                        "Labels": {f"{spec.LABEL}instance": self._instance},
                    }
                )
            self._network = name
        return name

    async def begin(self, place: Place, start: Start) -> None:
        await self._run_detached(place, PROGRAM, self._config(start))

    async def relay(self, place: Place) -> None:
        await self._run_detached(place, RELAY, {"run": spec.RUN, "socket": PORTS_SOCKET})

    async def _run_detached(self, place: Place, program: str, config: Mapping[str, Any]) -> None:
        """Run a program of the holder's package, which forks; its child keeps running."""
        command = ["python3", "-I", "-S", "-B", "-c", program, json.dumps(config), spec.INSIDE]
        async with self._engine() as docker:
            container = docker.containers.container(self._running_id(place))
            execution = await container.exec(command, stdout=False, stderr=False)
            await execution.start(detach=True)
            shown = await execution.inspect()
        if shown.get("ExitCode"):
            raise ShellNotStarted

    def _config(self, start: Start) -> dict[str, Any]:
        return {
            "terminal": start.terminal_id,
            "epoch": start.epoch,
            "run": spec.RUN,
            "socket": SOCKET_NAME,
            "argv": [spec.ENVIRONMENT["SHELL"], "-l"],
            "directory": spec.HOME,
            "environment": spec.ENVIRONMENT,
            "rows": start.rows,
            "columns": start.columns,
            "ring_bytes": self._settings.ring_bytes,
            "hold_seconds": self._settings.hold_seconds,
            "orphan_seconds": self._settings.idle_seconds,
            "linger_seconds": LINGER_SECONDS,
        }

    def is_alive(self, place: Place, terminal_id: str) -> bool:  # noqa: ARG002 - only the box's state is known
        return place.box_id in self.running

    async def stop(self, place: Place) -> None:
        """Remove the container; the home directory is outside it."""
        self.running.pop(place.box_id, None)
        async with self._engine() as docker:
            for container in await docker.containers.list(all=True, filters=self._mine(box=place.box_id)):
                with suppress(DockerError):  # it may have stopped already
                    await container.stop(t=STOP_SECONDS)
                await container.delete(force=True)

    async def run(self, place: Place, command: Sequence[str], seconds: float) -> tuple[int, str]:
        async with self._engine(seconds) as docker:
            container = docker.containers.container(self._running_id(place))
            execution = await container.exec([*command], stdin=False, tty=False)
            output = bytearray()
            async with execution.start(detach=False) as stream:
                while (message := await stream.read_out()) is not None:
                    output += message.data
                    del output[:-OUTPUT_BYTES_MAX]
            shown = await execution.inspect()
        return int(shown["ExitCode"] or 0), output.decode("utf-8", "replace")

    async def cpu_seconds(self, place: Place) -> float | None:
        async with self._engine() as docker:
            container = docker.containers.container(self._running_id(place))
            (shown,) = await container.stats(stream=False)
        used: float = shown["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9
        return used

    async def unlinked_bytes(self, place: Place) -> int:
        program = ["python3", "-I", "-S", "-B", "-c", UNLINKED, spec.HOME, spec.INSIDE]
        code, output = await self.run(place, program, CALL_SECONDS)
        text = output.strip()
        return int(text) if code == 0 and text.isdecimal() else 0

    def _running_id(self, place: Place) -> str:
        """Return the id of a box's container; raises EngineUnavailable if it has ended."""
        container_id = self.running.get(place.box_id)
        if not container_id:
            raise EngineUnavailable
        return container_id

    async def describe(self) -> dict[str, str]:
        async with self._engine() as docker:
            found = await docker.system.info()
        return {
            "version": str(found.get("ServerVersion", "")),
            "kernel": str(found.get("KernelVersion", "")),
            "cgroups": f"v{found.get('CgroupVersion', '1')} {found.get('CgroupDriver', '')}",
            "security": " ".join(found.get("SecurityOptions") or ()),
            "runtimes": " ".join(sorted(found.get("Runtimes") or ())),
            "live_restore": str(bool(found.get("LiveRestoreEnabled"))).lower(),
            "swap_limit": str(bool(found.get("SwapLimit"))).lower(),
            "memory": str(found.get("MemTotal", "")),
        }

    async def close(self) -> None:
        if self._following is not None:
            await end([self._following])
        if self._docker is not None:
            session = self._docker.session
            await self._docker.close()
            await session.close()


def _instance_of(file: Path) -> str:
    """Return the id by which installations that share an engine tell their containers apart."""
    if not file.exists():
        draft = file.with_suffix(".draft")
        draft.write_text(new_id())
        draft.replace(file)
    return file.read_text()
