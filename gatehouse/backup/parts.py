"""What a backup of this suite consists of: databases, folders, secrets and the routes file."""

import hmac
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from gatehouse import programs
from gatehouse.backup import NotDone
from gatehouse.backup.sealing import Secrets
from shared.process.settings import ServiceSettings

if TYPE_CHECKING:
    from gatehouse.programs import Program

# Each seals what a service stores: without the right one, sealed values cannot be read again.
_SEALING = "KEY_SECRET"
RESTORED_SECRETS = "restored.env"


@dataclass(frozen=True, slots=True)
class Part:
    """A service's database and the folders beside it."""

    name: str
    url: str
    migrations: Path
    folders: Mapping[str, Path]
    redis_url: str
    elsewhere: str  # where else content is stored, which a backup does not contain


def of_suite(root: Path, chosen: Collection[str] = ()) -> list[Part]:
    """Return the parts of all services or of the chosen ones."""
    found = [
        Part(
            program.name,
            program.settings.database_url,
            program.settings.migrations(),
            program.settings.stored_folders(),
            program.settings.redis_url.get_secret_value() if program.settings.redis_url else "",
            program.settings.stored_elsewhere(),
        )
        for program in programs.load(root, os.environ)
        if isinstance(program.settings, ServiceSettings)
    ]
    unknown = sorted(set(chosen) - {part.name for part in found})
    if unknown:
        known = ", ".join(part.name for part in found)
        raise NotDone(f"there is no service {unknown[0]!r}; there are {known}")
    return [part for part in found if not chosen or part.name in chosen]


def secrets(root: Path) -> Secrets:
    """Return everything secret that somebody needs to start the suite elsewhere."""
    folder = secrets_folder(root)
    made = [file for file in sorted(folder.glob("*")) if file.name != RESTORED_SECRETS]
    return {"variables": variables(root), "files": {file.name: file.read_text() for file in made}}


def secrets_folder(root: Path) -> Path:
    return programs.load(root, os.environ)[0].settings.data_dir.absolute() / "secrets"


def variables(root: Path) -> dict[str, str]:
    """Return the suite's secrets by the variable that sets them."""
    loaded = programs.load(root, os.environ)
    found: dict[str, str] = {}
    for program in loaded:
        for name, value in program.settings:
            if isinstance(value, SecretStr) and value.get_secret_value():
                found[_variable(program, name, loaded)] = value.get_secret_value()
    return found


def _variable(program: "Program", name: str, loaded: Collection["Program"]) -> str:
    """Return NAME if all programs that know the setting have one value for it, else PROGRAM_NAME."""
    values = {
        value.get_secret_value()
        for other in loaded
        for field, value in other.settings
        if field == name and isinstance(value, SecretStr)
    }
    return name.upper() if len(values) == 1 else f"{program.name}_{name}".upper()


def fingerprints(backup_id: str, found: Mapping[str, str]) -> dict[str, str]:
    """Return what recognises the sealing secrets without revealing them: they are random and long."""
    return {
        name: hmac.digest(value.encode(), f"gatehouse backup {backup_id}".encode(), "sha256").hex()
        for name, value in found.items()
        if name.endswith(_SEALING)
    }


def walk(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield everything in a folder with its relative path, folders first; follow no links."""
    waiting = [("", folder)]
    while waiting:
        prefix, place = waiting.pop()
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except FileNotFoundError:  # removed meanwhile
            continue
        for entry in entries:
            yield f"{prefix}{entry.name}", entry
            if entry.is_dir(follow_symlinks=False):
                waiting.append((f"{prefix}{entry.name}/", Path(entry.path)))
