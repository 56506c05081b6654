"""The Secrets of a cluster, from the .env that docker-compose uses; they are written to no other file."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from gatehouse.kubernetes import backups, objects
from gatehouse.kubernetes.objects import Manifest
from gatehouse.kubernetes.suite import GATEWAY, Suite

# The users of deploy/redis-start.sh with their passwords: that of services, and that of gateways.
REDIS_USERS = (("services", "REDIS_PASSWORD"), ("gateway", "REDIS_GATEWAY_PASSWORD"))


class Missing(Exception):
    """Values are missing; the message names them."""


def given_in(env: Path) -> dict[str, str]:
    """Return the variables of a .env file."""
    try:
        lines = [line.strip() for line in env.read_text().splitlines()]
    except FileNotFoundError:
        raise Missing(f"{env}: there is no such file; `gatehouse env` writes one") from None
    pairs = [line.partition("=")[::2] for line in lines if "=" in line and not line.startswith("#")]
    return {name.strip(): value.strip().strip("'\"") for name, value in pairs}


def drawn(suite: Suite, given: Mapping[str, str], *, postgres: str, redis: str) -> list[Manifest]:
    """Return one Secret for each program with the values that it needs, and those of the two servers."""
    found: dict[str, dict[str, str]] = {}
    missing: set[str] = set()
    for secret, key, name, template, is_required in _wanted(suite, postgres, redis):
        value = given.get(name, "")
        if value:
            text = template.format(quote(value, safe="")) if template else value
            found.setdefault(secret, {})[key] = text
        elif is_required:
            missing.add(name)
    if missing:
        raise Missing(f"{', '.join(sorted(missing))}: not set; `gatehouse env` adds them to .env")
    return [
        objects.manifest("Secret", "v1", name, type="Opaque", stringData=values)
        for name, values in sorted(found.items())
    ]


def _wanted(suite: Suite, postgres: str, redis: str) -> Iterator[tuple[str, str, str, str, bool]]:
    """Yield each value: its Secret and key, its name in .env, the URL around it, whether it must be there."""
    for program in suite.programs:
        for one in (variable for variable in program.variables if variable.secret):
            name, template = one.given, ""
            if one.name == "DATABASE_URL":
                owner = program.prefix.lower().rstrip("_")
                template = f"postgresql://{owner}:{{}}@{postgres}/{owner}"
                yield "postgres", name, name, "", True
            elif one.name == "REDIS_URL":
                user, name = REDIS_USERS[program.name == GATEWAY]
                template = f"redis://{user}:{{}}@{redis}/0"
                yield "redis", name, name, "", True
            yield one.secret, one.key, name, template, one.is_required
    yield "postgres", "POSTGRES_PASSWORD", "POSTGRES_PASSWORD", "", True
    yield backups.NAME, backups.PASSPHRASE, backups.PASSPHRASE, "", True
