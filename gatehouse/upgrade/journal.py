"""How far an upgrade came, so that an interrupted one continues, and how to go back from a finished one."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from gatehouse.upgrade import NotUpgraded

FILE = "upgrade.json"


@dataclass(slots=True)
class Journal:
    """The last upgrade; written after every step."""

    file: Path
    before: dict[str, str | None] = field(default_factory=dict)  # versions, by service
    after: dict[str, str | None] = field(default_factory=dict)
    backup: str = ""
    rolled: list[str] = field(default_factory=list)
    is_finished: bool = False
    is_undone: bool = False  # by the way back: the code from before runs
    code: str = ""  # that it leads to

    @classmethod
    def of(cls, data_dir: Path) -> Self | None:
        file = data_dir / FILE
        if not file.exists():
            return None
        try:
            return cls(file, **json.loads(file.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise NotUpgraded(f"{file} cannot be read ({error}); move it away to begin anew") from None

    def write(self) -> None:
        """Replace the file as a whole, so that a kill leaves the former state."""
        told = {name: value for name, value in asdict(self).items() if name != "file"}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        draft = self.file.with_suffix(".part")
        with draft.open("w") as writing:
            writing.write(json.dumps(told, indent=1))
            writing.flush()
            os.fsync(writing.fileno())
        draft.replace(self.file)
