"""Handlers for operators: what the host offers, and whether boxes are isolated."""

from services.terminal.boxes import Boxes
from services.terminal.errors import NotIsolated
from services.terminal.schemas import CheckOut, HostOut, SelftestOut
from services.terminal.settings import Settings
from shared.http.trail import Trail


async def show_host(boxes: Boxes, settings: Settings) -> HostOut:
    """Show the engine that runs the boxes, and the limits of a box."""
    return HostOut(
        backend=boxes.backend.name,
        isolation=boxes.backend.isolation,
        engine=await boxes.backend.describe(),
        image=settings.box_image,
        network=settings.box_network,
        runtime=settings.box_runtime or None,
        boxes_running=await boxes.count_running(),
        boxes_max=settings.boxes_max,
        box_memory=settings.box_memory,
        box_cpus=settings.box_cpus,
        box_pids=settings.box_pids,
        box_tmp=settings.box_tmp,
        home_bytes=settings.home_bytes,
        home_entries=settings.home_entries,
    )


async def run_selftest(boxes: Boxes, trail: Trail) -> SelftestOut:
    """Start a box that tries to break out, and report each attempt; it takes up to two minutes."""
    if boxes.backend.isolation == "none":
        raise NotIsolated
    checks = [CheckOut.model_validate(one) for one in await boxes.selftest()]
    holds = all(one.holds for one in checks)
    trail.add(holds=holds)
    return SelftestOut(holds=holds, checks=checks)
