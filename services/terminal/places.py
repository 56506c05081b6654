"""The directories of each box."""

import hashlib
import os
import re
from pathlib import Path

from services.terminal.backends.base import Place
from services.terminal.settings import Settings

_PLAIN = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}")


CONTAINER_USER = 1000
AREAS = ".areas"  # no account's home has a name that begins with a dot


class LinkFound(ValueError):
    """A directory of boxes is reached over a link, which may lead to any directory of the host."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is or lies below a symbolic link")


class Places:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def of(self, box_id: str, owner: str) -> Place:
        return Place(box_id, owner, self._settings.root / "boxes" / box_id, self.home_of(owner))

    def home_of(self, owner: str) -> Path:
        return self._settings.homes / _name_of(owner)

    def area_of(self, owner: str) -> Path:
        """Return the folder of unfinished uploads and trash: beside the homes, out of reach of the shells."""
        return self._settings.homes / AREAS / _name_of(owner)

    def areas(self) -> Path:
        return self._settings.homes / AREAS

    def prepare_home(self, owner: str) -> Path:
        home = self.home_of(owner)
        prepare_home(home, for_container=self._settings.backend == "docker")
        return home


def prepare_home(home: Path, *, for_container: bool) -> str:
    """Create a home and return the user that its shells run as; in a container that is never root."""
    if home.is_symlink():
        raise LinkFound(home)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not for_container or os.getuid() != 0:
        return f"{os.getuid()}:{os.getgid()}"
    if home.lstat().st_uid != CONTAINER_USER:
        os.chown(home, CONTAINER_USER, CONTAINER_USER, follow_symlinks=False)
    return f"{CONTAINER_USER}:{CONTAINER_USER}"


def require_no_links(settings: Settings, *paths: Path) -> None:
    """Refuse paths with links below DATA_DIR or HOMES_PATH: an attacker in the service could make some."""
    bases = [settings.data_dir.absolute(), *([settings.homes] if settings.homes_path else [])]
    for path in paths:
        base = next(one for one in reversed(bases) if path.is_relative_to(one))
        if Path(os.path.realpath(path)) != Path(os.path.realpath(base)) / path.relative_to(base):
            raise LinkFound(path)


def _name_of(owner: str) -> str:
    """Return a directory name. Owner ids come from tokens, so those that are not safe names are hashed."""
    return owner if _PLAIN.fullmatch(owner) else hashlib.sha256(owner.encode()).hexdigest()
