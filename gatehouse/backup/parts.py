"""What a backup of this suite consists of: databases, folders, buckets, secrets and the routes file."""

import hmac
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from gatehouse import programs
from gatehouse.backup import NotDone
from gatehouse.backup.sealing import Secrets
from shared.process.settings import ServiceSettings
from shared.process.stored import HOLD_PREFIX, StoredBucket, StoredFolder

if TYPE_CHECKING:
    from gatehouse.programs import Program

RESTORED_SECRETS = "restored.env"
_SEALING = "key_secret"  # seals what a service stores; with another secret, nobody could read it


@dataclass(frozen=True, slots=True)
class Part:
    """A service's database, and the folders and buckets beside it."""

    name: str
    url: str
    migrations: Path
    folders: tuple[StoredFolder, ...]
    redis_url: str
    buckets: tuple[StoredBucket, ...]
    sealed_with: str  # empty if the service seals nothing
    is_secret_given: bool  # rather than made and stored by the suite itself

    def fingerprint(self, backup_id: str) -> str:
        """Return a text that identifies the secret without revealing it: the secret is random and long."""
        purpose = f"gatehouse backup {backup_id}".encode()
        return hmac.digest(self.sealed_with.encode(), purpose, "sha256").hex() if self.sealed_with else ""


def of_suite(root: Path, chosen: Collection[str] = ()) -> list[Part]:
    """Return the parts of all services or of the chosen ones."""
    found = [
        Part(
            program.name,
            program.settings.database_url,
            program.settings.migrations(),
            program.settings.stored_folders(),
            program.settings.redis_url.get_secret_value() if program.settings.redis_url else "",
            program.settings.stored_buckets(),
            _secret(program.settings),
            any(
                name.upper() in (f"{_SEALING}{form}".upper() for form in ("", "_file"))
                for name in program.environment
            ),
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
    return data_dir(root) / "secrets"


def data_dir(root: Path) -> Path:
    return programs.load(root, os.environ)[0].settings.data_dir.absolute()


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


def _secret(settings: ServiceSettings) -> str:
    secret = getattr(settings, _SEALING, None)
    return secret.get_secret_value() if isinstance(secret, SecretStr) else ""


def walk(folder: Path, refused: Callable[[OSError], None]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield everything in a folder with its relative path, folders first; follow no links."""
    waiting = [("", folder)]
    while waiting:
        prefix, place = waiting.pop()
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except FileNotFoundError:  # removed meanwhile
            continue
        except OSError as error:
            refused(error)
            continue
        for entry in entries:
            if entry.name.startswith(HOLD_PREFIX) and not prefix:
                continue
            yield f"{prefix}{entry.name}", entry
            if entry.is_dir(follow_symlinks=False):
                waiting.append((f"{prefix}{entry.name}/", Path(entry.path)))
