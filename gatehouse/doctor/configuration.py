"""Checks of the settings: what has no effect, what is a placeholder, who can read the secrets."""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path

from pydantic import SecretStr

from gatehouse import programs
from gatehouse.programs import GATEWAY, Program
from shared.process.checkup import Finding, fault, good, warning
from shared.process.settings import ServiceSettings, is_placeholder

_SECRET_NAME = re.compile(r"(SECRET|PASSWORD|PASSPHRASE|TOKEN|_KEY)(_PREVIOUS)?$")
_MOUNTED = Path("/run/secrets")  # of containers, whose files everybody in the container may read
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def settings(faults: Iterable[str]) -> Iterator[Finding]:
    found = [
        fault("settings", one, "Correct the variable; docs/settings.md lists all of them.") for one in faults
    ]
    yield from found or [good("settings", "valid for every program")]


def without_effect(loaded: Iterable[Program], environment: Mapping[str, str]) -> Iterator[Finding]:
    for sentence in programs.without_effect(loaded, environment):
        yield warning("settings", sentence, "Remove or rename the variable.")


def placeholders(environment: Mapping[str, str], env_file: Path) -> Iterator[Finding]:
    """Look for secrets that somebody forgot to replace, also in the .env file that docker-compose reads."""
    names = {name for name, value in environment.items() if _is_unreplaced(name, value)}
    if env_file.exists():
        pairs = (
            line.partition("=") for line in env_file.read_text().splitlines() if not line.startswith("#")
        )
        names |= {
            f"{name.strip()} in {env_file.name}" for name, _, value in pairs if _is_unreplaced(name, value)
        }
    for name in sorted(names):
        yield fault("secrets", f"{name} is a placeholder", "Generate one with: openssl rand -hex 32")
    if not names:
        yield good("secrets", "no placeholders")


def _is_unreplaced(name: str, value: str) -> bool:
    text = value.strip().strip("\"'")
    is_secret = _SECRET_NAME.search(name.strip().upper()) is not None
    return is_secret and bool(text) and (text == "<secret>" or is_placeholder(text))


def environment_name(loaded: Iterable[Program]) -> Iterator[Finding]:
    """Development has public defaults such as the password of the admin, so others must not reach it."""
    for program in loaded:
        if program.name != GATEWAY:
            continue
        if program.settings.environment == "production":
            yield good("environment", "production")
        elif is_loopback(program.settings.host):
            yield good("environment", "development, which only this machine reaches")
        else:
            words = f"development, but the gateway listens on {program.settings.host}"
            yield fault("environment", words, "Set ENVIRONMENT=production, or HOST to a loopback address.")


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def file_modes(files: Iterable[Path]) -> Iterator[Finding]:
    """Files with secrets must be readable by their owner only."""
    checked = 0
    open_to_others = []
    for file in files:
        if not file.is_file() or file.is_relative_to(_MOUNTED):
            continue
        checked += 1
        if file.stat().st_mode & _OTHERS:
            open_to_others.append(file)
    for file in open_to_others:
        mode = f"{stat.S_IMODE(file.stat().st_mode):04o}"
        yield fault("file modes", f"{file} has mode {mode}", f"Run chmod 600 {file}")
    if not open_to_others:
        yield good("file modes", f"{checked} files that hold secrets or data are closed to others")


def private_files(root: Path, loaded: Iterable[Program]) -> list[Path]:
    """Return the files that hold secrets, and the databases."""
    found = {root / ".env"}
    for program in loaded:
        found |= set((program.settings.data_dir / "secrets").glob("*"))
        secret = {name for name, value in program.settings if isinstance(value, SecretStr)}
        given = (program.environment.get(f"{name.upper()}_FILE") for name in secret)
        found |= {Path(file) for file in given if file}
        if isinstance(program.settings, ServiceSettings) and (file := program.settings.sqlite_file()):
            found.add(file)
    passphrase = os.environ.get("BACKUP_PASSPHRASE_FILE")
    return sorted(found | ({Path(passphrase)} if passphrase else set()))
