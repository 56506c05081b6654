"""The programs of the suite, found by their folders, and the environment of each."""

import importlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported late below: the launcher, which uses this module too, needs no settings classes
    from shared.process.settings import ProcessSettings

GATEWAY = "gateway"
# For no program: the first opens the secrets of all of them, the second their backups.
OF_BACKUPS = ("BACKUP_PASSPHRASE", "BACKUP_S3_SECRET_KEY")
# If these reached all processes, each would get the same port or the same database. ORDERS_PORT reaches
# orders as PORT.
_ONE_PROCESS_ONLY = frozenset(
    name + form for name in ("PORT", "HOST", "DATABASE_URL") for form in ("", "_FILE")
)


@dataclass(frozen=True, slots=True)
class Program:
    """One process of the suite: its module and its settings."""

    name: str
    module: str
    environment: Mapping[str, str]
    settings: "ProcessSettings"

    @property
    def url(self) -> str:
        return f"http://{self.settings.host}:{self.settings.port}"


def find(root: Path) -> dict[str, str]:
    """Return the modules to run, by program name: every folder of services/, and the gateway last."""
    services = sorted(main.parent.name for main in (root / "services").glob("*/__main__.py"))
    gateway = {GATEWAY: GATEWAY} if (root / GATEWAY).is_dir() else {}  # a service's image does not contain it
    return {name: f"services.{name}" for name in services} | gateway


def load(root: Path, environment: Mapping[str, str]) -> list[Program]:
    """Return all programs with their settings, or raise SettingsFaults with the faults of all of them."""
    from shared.process.settings import DEVELOPMENT_ISSUER, SettingsFaults

    modules = find(root)
    programs: list[Program] = []
    faults: dict[str, list[str]] = {}
    for name, module in modules.items():
        own = own_environment(name, modules, environment)
        settings_class = importlib.import_module(f"{module}.settings").Settings
        try:
            with environment_of_process(own):
                programs.append(Program(name, module, own, settings_class.load()))
        except SettingsFaults as error:
            for fault in error.faults:
                faults.setdefault(_as_given(fault, name, environment), []).append(name)
    if faults:
        raise SettingsFaults(
            [
                fault if len(names) == len(modules) else f"{fault} ({', '.join(names)})"
                for fault, names in faults.items()
            ]
        )
    addresses = {f"{program.name.upper()}_URL": program.url for program in programs}
    gateway = next((program for program in programs if program.name == GATEWAY), None)
    if gateway is not None and gateway.settings.oauth_issuer == DEVELOPMENT_ISSUER:
        addresses["OAUTH_ISSUER"] = gateway.url
    return [
        Program(program.name, program.module, {**addresses, **program.environment}, program.settings)
        for program in programs
    ]


def own_environment(name: str, programs: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of one program: ORDERS_X reaches only orders, as X.

    If there is only one program, as in its own image, it also gets X.
    """
    for_one_only = _ONE_PROCESS_ONLY if len(programs) > 1 else frozenset[str]()
    prefixes = tuple(f"{program.upper()}_" for program in programs)
    addresses = {f"{program.upper()}_URL" for program in programs}  # service URLs, which every program gets
    kept = {
        key: value
        for key, value in environment.items()
        if key in addresses or not (key.upper() in for_one_only or key.startswith((*prefixes, *OF_BACKUPS)))
    }
    own = f"{name.upper()}_"
    return kept | {key.removeprefix(own): value for key, value in environment.items() if key.startswith(own)}


def without_effect(programs: Iterable[Program], environment: Mapping[str, str]) -> list[str]:
    """Return a sentence for each variable that has no effect although the operator expects one."""
    known = {program.name.upper(): program.settings for program in programs}
    sentences = []
    for variable in sorted(environment):
        name = variable.upper()
        if name in _ONE_PROCESS_ONLY:
            instead = ", ".join(
                f"{program}_{name}"
                for program, settings in known.items()
                if name.removesuffix("_FILE").lower() in type(settings).model_fields
            )
            sentences.append(f"{variable} has no effect, because it applies to one process: use {instead}")
    for program, settings in known.items():
        own = f"{program}_"
        settable = {field.upper() + form for field in type(settings).model_fields for form in ("", "_FILE")}
        sentences += [
            f"{variable} has no effect: {program.lower()} has no setting {variable.removeprefix(own)}"
            for variable in sorted(environment)
            if variable.startswith(own) and variable.removeprefix(own) not in {"URL", *settable}
        ]
    return sentences


def _as_given(fault: str, program: str, environment: Mapping[str, str]) -> str:
    """Return the fault under the name that was set: PORT of orders may have been set as ORDERS_PORT."""
    prefixed = f"{program.upper()}_{fault.partition(':')[0]}"
    return f"{program.upper()}_{fault}" if prefixed in environment else fault


@contextmanager
def environment_of_process(values: Mapping[str, str]) -> Iterator[None]:
    """Replace this process's environment with that of a program, as if this were its process."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
