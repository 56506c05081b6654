"""`gatehouse up --reload`: restarts programs whose files change."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from gatehouse.starting import IMPORTED_ONCE
from gatehouse.watched import Watched

LOOK_SECONDS = 0.2
State = Mapping[str, tuple[int, float]]


class Reloader:
    """Watches the files of every program, and restarts programs whose code has changed."""

    def __init__(self, root: Path, all_watched: Sequence[Watched]) -> None:
        self._root, self._watched = root, all_watched
        self._seen = self._look()

    async def run(self) -> None:
        while True:
            now = await asyncio.to_thread(self._look)
            changed = {part for part in now if now[part] != self._seen[part]}
            self._seen = now
            await asyncio.gather(*[watched.restart() for watched in self._affected(changed)])
            await asyncio.sleep(LOOK_SECONDS)

    def _affected(self, changed: set[str]) -> list[Watched]:
        is_all = not changed.isdisjoint(IMPORTED_ONCE)
        return [watched for watched in self._watched if is_all or _folder(watched) in changed]

    def _look(self) -> State:
        parts = (*IMPORTED_ONCE, *map(_folder, self._watched))
        return {part: _state(self._root / part) for part in parts}


def _folder(watched: Watched) -> str:
    return watched.program.module.replace(".", "/")


def _state(folder: Path) -> tuple[int, float]:
    """Return the number of Python files, and the time of the last change."""
    changed = []
    for file in folder.rglob("*.py"):
        with suppress(OSError):  # an editor has just replaced the file
            changed.append(file.stat().st_mtime)
    return len(changed), max(changed, default=0.0)
