"""The directories of each box."""

import hashlib
import re

from services.terminal.backends.base import Place
from services.terminal.settings import Settings

_PLAIN = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}")


class Places:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def of(self, box_id: str, owner: str) -> Place:
        """Return a box's place. Owner ids come from tokens, so those that are not safe names are hashed."""
        name = owner if _PLAIN.fullmatch(owner) else hashlib.sha256(owner.encode()).hexdigest()
        return Place(box_id, owner, self._settings.root / "boxes" / box_id, self._settings.homes / name)
