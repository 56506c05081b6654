"""`gatehouse compose`: draw the parts of docker-compose.yml that repeat for every service.

The list of services is the folders of services/. What the container of one needs beyond that of every service
is in its container.yaml. Everything outside the marked parts is written by hand.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

COMPOSE = "docker-compose.yml"
ENV_TEMPLATE = "deploy/env.template"
KEYS = {"environment", "data", "container"}
PORT = r"^    port: int = Field\(default=(\d+)"
IMAGE = "${PYTHON_IMAGE:-python:3.11-slim-bookworm}"
# The user of the Dockerfile, since the folder would belong to root otherwise.
TEMPORARY_DATA = '"/data:uid=10001,gid=10001"'


class NotDrawn(Exception):
    """A file cannot be drawn; the message says why."""


@dataclass(frozen=True, slots=True)
class Container:
    """A service as docker-compose runs it. Without `data`, what its volume holds, /data is temporary."""

    name: str
    port: int
    environment: Mapping[str, object] = field(default_factory=dict)
    data: str | None = None
    container: Mapping[str, Any] = field(default_factory=dict)

    @property
    def password(self) -> str:
        return f"{self.name.upper()}_DATABASE_PASSWORD"

    @property
    def block(self) -> str:
        build = f"target: service, args: {{SERVICE: {self.name}, PYTHON_IMAGE: {json.dumps(IMAGE)}}}"
        password = f"${{{self.password}:?run make env first}}"
        lines = [
            f"  {self.name}:",
            "    <<: *service",
            f"    image: gatehouse/{self.name}",
            f"    build: {{<<: *build, {build}}}",
            "    environment:",
            "      <<: *settings",
            f'      PORT: "{self.port}"',
            f"      DATABASE_URL: postgresql://{self.name}:{password}@postgres/{self.name}",
            *(f"      {name}: {_text(value)}" for name, value in self.environment.items()),
        ]
        if self.data is None:
            lines.append(f"    tmpfs: [/tmp, {TEMPORARY_DATA}]")
        else:
            lines += ["    tmpfs: [/tmp]", f'    volumes: ["{self.name}:/data"]  # {self.data}']
        lines += [f"    {name}: {json.dumps(value)}" for name, value in self.container.items()]
        return "\n".join([*lines, "    depends_on: {postgres: *healthy}", ""])


def _text(value: object) -> str:
    """A value as YAML reads it back as text; plain where that is possible."""
    plain = str(value)
    return plain if ": " not in plain and yaml.safe_load(plain) == plain else json.dumps(plain)


def containers(root: Path) -> list[Container]:
    """All services by name, with the default ports of their settings."""
    found = []
    for main in sorted((root / "services").glob("*/__main__.py")):
        folder = main.parent
        [port] = re.findall(PORT, _read(folder / "settings.py"), re.MULTILINE)
        extra = folder / "container.yaml"
        more = yaml.safe_load(extra.read_text()) if extra.exists() else {}
        if unknown := set(more) - KEYS:
            raise NotDrawn(
                f"{extra.relative_to(root)}: unknown {', '.join(sorted(unknown))}; use {sorted(KEYS)}"
            )
        found.append(Container(folder.name, int(port), **more))
    return found


def draw(compose: str, services: list[Container]) -> str:
    """docker-compose.yml with its marked parts drawn anew."""
    parts: dict[str, Iterator[str]] = {
        "addresses": (f"  {one.name.upper()}_URL: http://{one.name}:{one.port}\n" for one in services),
        "dependencies": (f"      {one.name}: *healthy\n" for one in services),
        "services": (f"{one.block}\n" for one in services),
        "passwords": (f"      {one.password}: ${{{one.password}}}\n" for one in services),
        "volumes": (f"  {one.name}:\n" for one in services if one.data is not None),
    }
    for name, lines in parts.items():
        begin, end = f"# drawn by gatehouse compose: {name}\n", f"# end of {name}\n"
        part = re.search(rf"^ *{begin}(.*?)^ *{end}", compose, re.MULTILINE | re.DOTALL)
        if part is None:
            raise NotDrawn(f"{COMPOSE} has no part between `{begin.strip()}` and `{end.strip()}`")
        compose = compose[: part.start(1)] + "".join(lines) + compose[part.end(1) :]
    return compose


def with_passwords(template: str, services: list[Container]) -> str:
    """deploy/env.template with a password for the database of each service, beside those that are there."""
    missing = [f"{one.password}=<secret>\n" for one in services if f"{one.password}=" not in template]
    last = template.rindex("_DATABASE_PASSWORD=<secret>\n") + len("_DATABASE_PASSWORD=<secret>\n")
    return template[:last] + "".join(missing) + template[last:]


def drawn(root: Path) -> dict[Path, str]:
    """The files as they have to be, by path."""
    services = containers(root)
    return {
        root / COMPOSE: draw(_read(root / COMPOSE), services),
        root / ENV_TEMPLATE: with_passwords(_read(root / ENV_TEMPLATE), services),
    }


def write(root: Path) -> list[Path]:
    """Write what differs, and return these files."""
    changed = {file: text for file, text in drawn(root).items() if _read(file) != text}
    for file, text in changed.items():
        file.write_text(text)
    return [*changed]


def _read(file: Path) -> str:
    return file.read_text()
