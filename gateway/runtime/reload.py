"""Reloads routes.yaml while requests continue; an invalid file changes nothing, and its faults are logged."""

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import Gauge

from gateway.config import api_keys_file
from gateway.config.routes_file import RoutesFileError, load, parse, read
from gateway.policies.api_keys import NO_KEYS, ApiKeys
from gateway.routing.table import RouteTable
from gateway.runtime.gateway import Gateway
from gateway.settings import Settings
from shared.clock import timestamp

POLL_SECONDS = 1.0
TURN_SECONDS = 0.0002
FAULTS_LOGGED_MAX = 200
KEPT_ROUTES = "GATEHOUSE_KEPT_ROUTES"  # where workers keep the last valid file for each other

# With several workers, the lowest of their values is reported.
SUCCESS = Gauge(
    "gateway_config_reload_success",
    "1 if the current routes file is active, 0 while an older one is",
    multiprocess_mode="livemin",
)
TIMESTAMP = Gauge(
    "gateway_config_last_reload_timestamp",
    "When the routes file was last read, in seconds since 1970",
    multiprocess_mode="livemax",
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of the last load of the routes file."""

    time: str
    success: bool
    changed: bool
    faults: tuple[str, ...] = ()

    def shown(self) -> dict[str, Any]:
        return {
            "time": self.time,
            "success": self.success,
            "changed": self.changed,
            "faults": list(self.faults),
        }


Signature = tuple[tuple[int, int, int], ...]


def first_keys(settings: Settings, table: RouteTable) -> ApiKeys:
    """Return the API keys at startup; a restarted worker uses the last valid ones."""
    try:
        keys, text = read_keys(settings.api_keys_file, table)
    except RoutesFileError as error:
        kept = _kept_keys()
        if kept is None or not kept.exists():
            raise
        faults = error.faults[:FAULTS_LOGGED_MAX]
        log.error("keys_refused", note="the previous keys stay active", faults=faults)  # noqa: TRY400 - the file's fault
        return api_keys_file.load(kept)
    keep(text, _kept_keys())
    return keys


def read_keys(file: Path | None, table: RouteTable) -> tuple[ApiKeys, str]:
    """Return the keys in the file, and its text."""
    if file is None:
        route = next((route for route in table.routes if route.policy.api_keys), None)
        if route is not None:
            raise RoutesFileError(
                f"route {route.name!r} accepts API keys, but there are none: set API_KEYS_FILE to a key file "
                "(`gatehouse keys new --client NAME FILE` creates it)"
            )
        return NO_KEYS, ""
    text = read(file, "API_KEYS_FILE")
    return api_keys_file.parse(text, str(file)), text


def _kept_keys() -> Path | None:
    kept = os.environ.get(KEPT_ROUTES)
    return None if kept is None else Path(kept).with_name("api-keys.yaml")


def first_table(settings: Settings) -> RouteTable:
    """Read the routing table at startup.

    If the file has become invalid, a restarted worker uses the table that the other workers still use.
    """
    development = settings.environment == "development"
    try:
        text = read(settings.routes_file)
        table = parse(text, str(settings.routes_file), development=development)
    except RoutesFileError as error:
        kept = os.environ.get(KEPT_ROUTES)
        if kept is None or not Path(kept).exists():
            raise
        faults = error.faults[:FAULTS_LOGGED_MAX]
        log.error("routes_refused", note="the previous routes stay active", faults=faults)  # noqa: TRY400 - the file's fault
        return load(Path(kept), development=development)
    keep(text, _kept_routes())
    return table


def _kept_routes() -> Path | None:
    kept = os.environ.get(KEPT_ROUTES)
    return None if kept is None else Path(kept)


def keep(text: str, kept: Path | None) -> None:
    """Save a valid file for workers that start later."""
    if kept is not None:
        draft = Path(f"{kept}.{os.getpid()}")
        draft.write_text(text)
        draft.replace(kept)


class Reload:
    """Reloads the files on SIGHUP, and after a change, once both files stay the same for one poll.

    Routes and API keys are loaded together or not at all.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._file = gateway.settings.routes_file
        self._keys_file = gateway.settings.api_keys_file
        self._asked = asyncio.Event()
        self._busy = asyncio.Lock()
        self._seen: Signature | None = None
        self._read: Signature | None = None
        self._task: asyncio.Task[None] | None = None
        self.count = 0
        self.outcome = self._note(Outcome(timestamp(), success=True, changed=True))

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        with suppress(ValueError, NotImplementedError):  # no signals outside of the main thread
            loop.add_signal_handler(signal.SIGHUP, self._asked.set)
        self._task = loop.create_task(self._watch())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)

    async def now(self) -> Outcome:
        """Load the file, or reject it as a whole."""
        async with self._busy:
            try:
                table, keys = await asyncio.to_thread(self._load)
            except RoutesFileError as error:
                self.outcome = self._refused(error.faults)
            except Exception as error:
                # Whatever error a file causes, the active routes stay active.
                log.exception("routes_not_read", file=str(self._file), exc_info=error)
                self.outcome = self._refused((f"{self._file}: {error!r}",))
            else:
                self.outcome = self._taken(table, keys)
            self.count += 1
            return self._note(self.outcome)

    def _load(self) -> tuple[RouteTable, ApiKeys]:
        """Load in a thread that yields often, so that the event loop continues with its requests."""
        usual = sys.getswitchinterval()
        sys.setswitchinterval(TURN_SECONDS)
        try:
            return self._read_files()
        finally:
            sys.setswitchinterval(usual)

    def _read_files(self) -> tuple[RouteTable, ApiKeys]:
        text = read(self._file)
        table = parse(text, str(self._file), development=self._gateway.settings.environment == "development")
        keys, keys_text = read_keys(self._keys_file, table)
        keep(text, _kept_routes())
        keep(keys_text, _kept_keys())
        return table, keys

    def _taken(self, table: RouteTable, keys: ApiKeys) -> Outcome:
        before = self._gateway.table
        changed = table.digest != before.digest
        if keys.digest != self._gateway.api_keys.digest:
            self._gateway.take_keys(keys)
            log.info("keys_reloaded", file=str(self._keys_file), keys=len(keys))
            changed = True
        if table.digest != before.digest:
            self._gateway.take(table)
            log.info("routes_reloaded", file=str(self._file), **_changes(before, table))
        elif not self.outcome.success:
            log.info("routes_reloaded", file=str(self._file), note="the file equals the active one again")
        return Outcome(timestamp(), success=True, changed=changed)

    def _refused(self, faults: tuple[str, ...]) -> Outcome:
        more = len(faults) - FAULTS_LOGGED_MAX
        shown = [*faults[:FAULTS_LOGGED_MAX], *([f"and {more} more"] if more > 0 else [])]
        log.error(
            "routes_refused", file=str(self._file), note="the previous routes stay active", faults=shown
        )
        return Outcome(timestamp(), success=False, changed=False, faults=faults)

    def _note(self, outcome: Outcome) -> Outcome:
        SUCCESS.set(outcome.success)
        TIMESTAMP.set(time.time())
        return outcome

    async def _watch(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._asked.wait()
            if self._asked.is_set() or self._is_changed():
                self._asked.clear()
                await self.now()

    def _is_changed(self) -> bool:
        """Whether a file has changed since it was read and is no longer being written."""
        before, self._seen = self._seen, self._signature()
        if self._seen == self._read or self._seen != before:
            return False
        self._read = self._seen
        return True

    def _signature(self) -> Signature | None:
        files = [self._file, *([self._keys_file] if self._keys_file else [])]
        try:
            found = [file.stat() for file in files]
        except OSError:
            return None  # an editor may be renaming it; a file that stays missing is reported as unreadable
        return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)


def _changes(before: RouteTable, after: RouteTable) -> dict[str, Any]:
    old, new = ({route.name: route for route in table.routes} for table in (before, after))
    return {
        "routes": len(new),
        "added": sorted(new.keys() - old.keys())[:FAULTS_LOGGED_MAX],
        "removed": sorted(old.keys() - new.keys())[:FAULTS_LOGGED_MAX],
        "changed": sorted(name for name in old.keys() & new.keys() if old[name] != new[name])[
            :FAULTS_LOGGED_MAX
        ],
    }
