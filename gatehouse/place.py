"""Where the code of the suite is: in a checkout, or packed into the wheel."""

import os
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_PACKED = _HERE / "_suite"  # in the wheel only (pyproject.toml)
IS_PACKED = _PACKED.is_dir()
ROOT = _PACKED if IS_PACKED else _HERE.parent


def enter() -> None:
    """Let this process, and those that it starts, find the packed suite, and keep its data elsewhere."""
    if not IS_PACKED:
        return
    place = str(ROOT)
    if place not in sys.path:
        sys.path.append(place)
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if place not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([place, *paths])
    # An upgrade replaces the folder of the code, and the current folder is a different one each time.
    for name, usual in (("DATA_DIR", _data_folder()), ("ROUTES_FILE", ROOT / "routes.yaml")):
        if not os.environ.get(name) and not os.environ.get(f"{name}_FILE"):
            os.environ[name] = str(usual)


def _data_folder() -> Path:
    home = os.environ.get("XDG_DATA_HOME")
    return (Path(home) if home else Path.home() / ".local" / "share") / "gatehouse"
