"""The programs of the suite as a cluster runs them: what each needs, and whom it calls."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from gatehouse.compose import COMPOSE, Container, NotDrawn, containers
from shared import __version__

GATEWAY = "gateway"
GATEWAY_PORT = 8000
COMMON = "suite"  # the Secret that all programs read
ROUTES_FOLDER = "/etc/gatehouse/routes"
GRACE_SECONDS = 40  # more than the 5 s of NOTICE_SECONDS and the 20 s of DRAIN_SECONDS
NOTICE_SECONDS = 5  # until every load balancer has noticed that a pod ends

_REFERENCE = re.compile(r"\$\{([A-Z0-9_]+)(:\?|:-)([^}]*)\}")
_SECRET = re.compile(r"SECRET|PASSWORD|TOKEN|_HEADERS$|_KEY(_ID)?$|^(DATABASE|REDIS|SMTP)_URL$")
# The settings in `x-settings` that the manifests set in another way.
_DIFFERENT = {"ENVIRONMENT", "INTERNAL_SECRET", "INTERNAL_SECRET_PREVIOUS", "REDIS_URL", "TRUSTED_PROXIES"}
_MEBIBYTES = {"m": "Mi", "g": "Gi"}


@dataclass(frozen=True, slots=True)
class Variable:
    """A setting of a program: a value, or a reference to a ConfigMap or a Secret.

    `given` is its name in .env. It differs from the name in the process if several programs have the same
    setting.
    """

    name: str
    value: str | None = None
    given: str = ""
    secret: str = ""  # the name of the Secret; without it, the ConfigMap `settings` has the value
    default: str = ""
    is_required: bool = False
    is_common: bool = False  # the same for all programs
    in_secret: str = ""  # its key in the Secret, if that differs from its name

    def under(self, prefix: str) -> "Variable":
        """Return the same variable for a process that runs commands for all programs."""
        return replace(self, name=f"{prefix}{self.name}", in_secret=self.key if self.secret else "")

    @property
    def key(self) -> str:
        """The key in the ConfigMap or Secret."""
        return (self.in_secret or self.name) if self.secret else self.given


@dataclass(frozen=True, slots=True)
class Program:
    """One program: `calls` are the services it sends requests to, `outside` the ports on the Internet."""

    name: str
    port: int
    prefix: str  # of its variables, where one process has those of all programs
    variables: tuple[Variable, ...]
    calls: tuple[str, ...] = ()
    outside: tuple[int, ...] = ()
    memory: str = "512Mi"
    keeps_data: bool = False


@dataclass(frozen=True, slots=True)
class Choices:
    """What differs from one installation to another."""

    registry: str = ""
    host: str = "gatehouse.example.com"
    pod_network: str = "10.244.0.0/16"

    def image(self, name: str) -> str:
        return f"{self.registry.rstrip('/')}/{name}:{__version__}".lstrip("/")


@dataclass(frozen=True, slots=True)
class Suite:
    """All programs, and the URL of every service by its variable."""

    root: Path
    choices: Choices
    services: tuple[Program, ...]
    gateway: Program
    addresses: Mapping[str, str]

    @property
    def programs(self) -> tuple[Program, ...]:
        return (*self.services, self.gateway)

    def callers(self, name: str) -> list[str]:
        return [one.name for one in self.programs if name in one.calls]

    @property
    def settings(self) -> dict[str, str]:
        """The keys of the ConfigMap `settings`, with their defaults."""
        found: dict[str, str] = {}
        for variable in (one for program in self.programs for one in program.variables):
            if variable.value is None and not variable.secret:
                found.setdefault(variable.given, variable.default)
        return found


def read(root: Path, choices: Choices) -> Suite:
    """Return the suite as the folders below `root` describe it."""
    found = containers(root)
    common = _common(root)
    names = [one.name for one in found]
    services = tuple(_service(root, one, names, common) for one in found)
    addresses = {f"{one.prefix}URL": f"http://{one.name}:{one.port}" for one in services}
    gateway = Program(
        GATEWAY,
        GATEWAY_PORT,
        "GATEWAY_",
        (
            Variable("PORT", str(GATEWAY_PORT)),
            *common,
            Variable("REDIS_URL", given="REDIS_URL", secret=GATEWAY, is_required=True),
            Variable("METRICS_TOKEN", given="METRICS_TOKEN", secret=GATEWAY),
            Variable("ROUTES_FILE", f"{ROUTES_FOLDER}/routes.yaml"),
        ),
        calls=tuple(one.name for one in services),
        memory="1Gi",
    )
    return Suite(root, choices, services, gateway, addresses)


def _service(root: Path, container: Container, names: list[str], common: tuple[Variable, ...]) -> Program:
    settings = (root / "services" / container.name / "settings.py").read_text()
    named = {name for name in names if re.search(rf"^    {name}_url: ", settings, re.MULTILINE)}
    others = sorted((named | {"auth"}) - {container.name})  # auth has the keys and the revocations
    name = _in_cluster(container.name)
    return Program(
        name,
        container.port,
        f"{container.name.upper()}_",
        (
            Variable("PORT", str(container.port)),
            *common,
            Variable("REDIS_URL", given="REDIS_URL", secret=COMMON, is_required=True),
            Variable("DATABASE_URL", given=container.password, secret=name, is_required=True),
            *_listed(container.name, container.environment, name),
        ),
        calls=tuple(_in_cluster(one) for one in others),
        outside=tuple(container.outside),
        memory=_memory(str(container.container.get("mem_limit", "512m"))),
        keeps_data=container.data is not None,
    )


def _common(root: Path) -> tuple[Variable, ...]:
    """Return what every program gets, as `x-settings` of docker-compose.yml lists it."""
    listed = yaml.safe_load((root / COMPOSE).read_text())["x-settings"]
    addresses = {f"{one.name.upper()}_URL" for one in containers(root)}
    others = {name: text for name, text in listed.items() if name not in _DIFFERENT | addresses}
    found = (
        Variable("INTERNAL_SECRET", given="INTERNAL_SECRET", secret=COMMON, is_required=True),
        Variable("INTERNAL_SECRET_PREVIOUS", given="INTERNAL_SECRET_PREVIOUS", secret=COMMON),
        *_listed(COMPOSE, others, COMMON),
    )
    networks = Variable("TRUSTED_PROXIES", given="TRUSTED_PROXIES")
    return (*(replace(one, is_common=True) for one in found), networks)


def _listed(where: str, environment: Mapping[str, object], secret: str) -> Iterator[Variable]:
    """Yield variables that are written as docker-compose reads them."""
    for name, text in environment.items():
        reference = _REFERENCE.fullmatch(str(text))
        if reference is None:
            if "${" in str(text):
                raise NotDrawn(f"{where}: {name} must be a value, or one ${{NAME}}")
            yield Variable(name, str(text))
            continue
        given, operator, default = reference.groups()
        yield Variable(
            name,
            given=given,
            secret=secret if _SECRET.search(name) else "",
            default="" if operator == ":?" else default,
            is_required=operator == ":?",
        )


def _in_cluster(name: str) -> str:
    """Return the name as a host name, which has no underscores."""
    return name.replace("_", "-")


def _memory(limit: str) -> str:
    return f"{limit[:-1]}{_MEBIBYTES[limit[-1]]}"
