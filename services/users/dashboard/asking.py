"""Asks every service for its numbers, at the same time and within a short time."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import structlog
from pydantic import ValidationError

from contracts.summaries import SUMMARY, Summary
from services.users.dashboard.schemas import DashboardSummary
from shared.caller import Caller
from shared.clock import now
from shared.errors import Problem
from shared.peers.client import Peer

ANSWER_SECONDS = 0.3
KEPT_SECONDS = 10.0
KEPT_MAX = 10_000

Key = tuple[str, bool]  # the caller's id, and whether the numbers are those of everybody

log = structlog.get_logger(__name__)


class Dashboard:
    """The services by section, and the summaries of the last seconds.

    Simultaneous requests of one caller share one round of questions.
    """

    def __init__(self, peers: Mapping[str, Peer]) -> None:
        self._peers = peers
        self._kept: OrderedDict[Key, tuple[float, DashboardSummary]] = OrderedDict()
        self._asking: dict[Key, asyncio.Task[DashboardSummary]] = {}

    async def summary(self, caller: Caller) -> DashboardSummary:
        """Return the numbers of the caller, or for an admin those of everybody."""
        key = (caller.id, caller.is_admin)
        kept = self._kept.get(key)
        if kept is not None and kept[0] > time.monotonic():
            return kept[1]
        asking = self._asking.get(key)
        if asking is None:
            asking = asyncio.create_task(self._ask_and_keep(key, caller), name="dashboard: asks")
            self._asking[key] = asking
            asking.add_done_callback(lambda _: self._asking.pop(key))
        return await asyncio.shield(asking)  # others wait for it too, so one who gives up must not end it

    async def _ask_and_keep(self, key: Key, caller: Caller) -> DashboardSummary:
        made = await self._ask(caller)
        self._kept[key] = (time.monotonic() + KEPT_SECONDS, made)
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return made

    async def _ask(self, caller: Caller) -> DashboardSummary:
        path = f"{SUMMARY}?{'all=true' if caller.is_admin else f'user_id={caller.id}'}"
        found = await asyncio.gather(*(_numbers(name, peer, path) for name, peer in self._peers.items()))
        by_section = dict(zip(self._peers, found, strict=True))
        return DashboardSummary(
            role=caller.role if not caller.is_narrowed else "user",
            generated=now(),
            sections={name: numbers for name, numbers in by_section.items() if numbers is not None},
            unavailable=[name for name, numbers in by_section.items() if numbers is None],
        )


async def _numbers(section: str, peer: Peer, path: str) -> dict[str, int] | None:
    """Return the numbers of a section; None if its service fails, or is late."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            answer: Any = await peer.call("GET", path)
        return Summary.model_validate(answer).root
    except (TimeoutError, Problem, ValidationError) as error:
        log.warning("dashboard_section_missing", section=section, error=repr(error))
        return None
