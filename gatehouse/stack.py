"""`gatehouse stack`: draws the stack for Docker Swarm from the list that docker-compose uses."""

import argparse
import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatehouse.place import IS_PACKED, ROOT

if TYPE_CHECKING:  # imported late below: no other command needs these
    from gatehouse.kubernetes.suite import Program, Suite, Variable

FILE = Path("deploy/stack.yml")
SECRETS = "secrets"  # the folder beside the stack from which `docker stack deploy` reads them
DATA_NODE = "node.labels.gatehouse == data"
SCRIPTS = ("postgres-init.sh", "redis-start.sh")
HEAD = "# Drawn by `gatehouse stack` (docs/swarm.md): change the list of services, not this file.\n"
# Exports every secret under the name of its variable, for programs that cannot read files.
EXPORT = 'for file in /run/secrets/*; do export "$(basename "$file")=$(cat "$file")"; done; exec '

Service = dict[str, Any]


def drawn(root: Path, registry: str = "", given: Collection[str] = ()) -> str:
    """Return the stack. A secret that is not required is in it only if it is among `given`."""
    from gatehouse.kubernetes.drawing import text
    from gatehouse.kubernetes.suite import Choices, read

    suite = read(root, Choices(registry))
    services = {program.name: _program(suite, program, given) for program in suite.programs}
    services |= {"postgres": _postgres(suite), "redis": _redis()}
    used = {one["source"] for service in services.values() for one in service["secrets"]}
    volumes = ["postgres", "redis", *(one.name for one in suite.services if one.keeps_data)]
    stack = {
        "version": "3.8",
        "services": services,
        "networks": {
            "services": {"driver": "overlay"},
            "database": {"driver": "overlay", "internal": True},
            "redis": {"driver": "overlay", "internal": True},
        },
        "volumes": {name: {} for name in volumes},
        "configs": {name: {"file": f"./{name}"} for name in SCRIPTS},
        "secrets": {name: {"file": f"./{SECRETS}/{name}"} for name in sorted(used)},
    }
    return HEAD + text(stack)


def _program(suite: "Suite", program: "Program", given: Collection[str]) -> Service:
    is_gateway = program is suite.gateway
    variables = [one for one in program.variables if one.name != "ROUTES_FILE"]  # the image has one
    secret = [one for one in variables if one.secret and (one.is_required or _file_of(one) in given)]
    environment = {"ENVIRONMENT": "production", **suite.addresses}
    environment |= {one.name: _plain(one) for one in variables if not one.secret}
    if not is_gateway:  # services see the gateways, whose addresses Swarm takes from this network by default
        environment["TRUSTED_PROXIES"] = "${SERVICES_SUBNET:-10.0.0.0/8}"
    environment |= {f"{one.name}_FILE": f"/run/secrets/{_file_of(one)}" for one in secret}
    service: Service = {
        "image": suite.choices.image(f"gatehouse/{program.name}"),
        "environment": environment,
        "secrets": [{"source": _file_of(one), "target": _file_of(one), **_OF_USER} for one in secret],
        "networks": ["services", "redis", *([] if is_gateway else ["database"])],
        **_confined(program.memory, keeps_data=program.keeps_data),
    }
    if program.keeps_data:
        service["volumes"].append(f"{program.name}:/data")
        return service
    service["volumes"].append({"type": "tmpfs", "target": "/data"})
    if is_gateway:
        # One on every node, on the port of the node itself: the mesh would hide the addresses of clients.
        service["deploy"] |= {"mode": "global"}
        port = {"target": program.port, "published": program.port, "protocol": "tcp", "mode": "host"}
        service["ports"] = [port]
        service["deploy"]["update_config"]["order"] = "stop-first"  # two cannot have one port
    else:
        service["deploy"] |= {"replicas": 2}
    return service


_OF_USER = {"uid": "10001", "gid": "10001", "mode": 0o400}


def _confined(memory: str, *, keeps_data: bool) -> Service:
    update = {
        "parallelism": 1,
        "order": "stop-first" if keeps_data else "start-first",
        "failure_action": "rollback",
        "monitor": "30s",
    }
    placement = {"placement": {"constraints": [DATA_NODE]}} if keeps_data else {}
    return {
        "read_only": True,
        "cap_drop": ["ALL"],
        "stop_grace_period": "40s",
        "volumes": [{"type": "tmpfs", "target": "/tmp"}],  # noqa: S108 - a folder in the container
        "deploy": {
            "update_config": update,
            "restart_policy": {"condition": "any", "delay": "2s"},
            "resources": {"limits": {"memory": f"{memory[:-2]}{memory[-2]}"}},
            **placement,
        },
    }


def _postgres(suite: "Suite") -> Service:
    passwords = [one.given for each in suite.services for one in each.variables if one.name == "DATABASE_URL"]
    check = ["CMD", "pg_isready", "--quiet", "--host=127.0.0.1", "--username=postgres"]
    start = f"{EXPORT}$(command -v docker-entrypoint.sh || command -v postgres-entrypoint) postgres"
    service = _server("postgres:15-bookworm", "database", ["POSTGRES_PASSWORD", *passwords], check, "2Gi")
    script = {"source": SCRIPTS[0], "target": "/docker-entrypoint-initdb.d/10-services.sh", "mode": 0o555}
    service |= {"entrypoint": ["/bin/bash", "-c", _escaped(start)], "configs": [script]}
    service["environment"] = {"POSTGRES_USER": "postgres"}
    service["volumes"] += [
        {"type": "tmpfs", "target": "/var/run/postgresql"},
        "postgres:/var/lib/postgresql/data",
    ]
    return service


def _redis() -> Service:
    ping = "REDISCLI_AUTH=$(cat /run/secrets/REDIS_PASSWORD) redis-cli --user services --no-auth-warning ping"
    passwords = ["REDIS_PASSWORD", "REDIS_GATEWAY_PASSWORD"]
    check = ["CMD-SHELL", f"{_escaped(ping)} | grep -q PONG"]
    start = f"{EXPORT}/bin/sh /usr/local/bin/redis-start --appendonly yes --dir /data"
    service = _server("redis:7-bookworm", "redis", passwords, check, "512Mi")
    script = {"source": SCRIPTS[1], "target": "/usr/local/bin/redis-start", "mode": 0o555}
    service |= {"entrypoint": ["/bin/sh", "-c", _escaped(start)], "configs": [script]}
    service["volumes"] += [{"type": "tmpfs", "target": "/run/redis"}, "redis:/data"]
    service["environment"] = {"REDIS_USERS_FILE": "/run/redis/users.acl"}
    return service


def _server(image: str, network: str, secrets: list[str], check: list[str], memory: str) -> Service:
    service = _confined(memory, keeps_data=True)
    return {
        "image": image,
        "networks": [network],
        "secrets": [{"source": f"{image.partition(':')[0]}_{one}".lower(), "target": one} for one in secrets],
        "healthcheck": {"test": check, "interval": "5s", "timeout": "10s", "start_period": "120s"},
        **service,
        # For the entry points of the images, before they change to their own user.
        "cap_add": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"],
    }


def _plain(variable: "Variable") -> str:
    if variable.value is not None:
        return variable.value
    return f"${{{variable.given}:-{variable.default}}}"


def _file_of(variable: "Variable") -> str:
    return f"{variable.secret}_{variable.key}".lower()


def _escaped(command: str) -> str:
    """Return the command without references that `docker stack` would replace."""
    return command.replace("$", "$$")


def stack(arguments: argparse.Namespace) -> int:
    """Draw the stack for Docker Swarm; with --to, also write its secrets from .env."""
    from gatehouse.compose import NotDrawn
    from gatehouse.kubernetes.secret_values import Missing

    if IS_PACKED and not arguments.to:
        sys.stderr.write("there is no checkout here: say where to write, with --to\n")
        return 2
    try:
        if arguments.to:
            _write_folder(Path(arguments.to), Path(arguments.env), arguments.registry)
        else:
            (ROOT / FILE).write_text(drawn(ROOT, arguments.registry))
    except (NotDrawn, Missing) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{error.filename}: {error.strerror}\n")
        return 1
    sys.stdout.write(f"wrote {arguments.to or FILE}\n")
    return 0


def _write_folder(folder: Path, env: Path, registry: str) -> None:
    """Write the stack, the scripts of the two servers, and one file for each secret."""
    values = secret_files(ROOT, env)
    text = drawn(ROOT, registry, values)
    private = folder / SECRETS
    private.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, value in values.items():
        file = private / name
        file.unlink(missing_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
            handle.write(value)
    for name in SCRIPTS:
        (folder / name).write_text((ROOT / "deploy" / name).read_text())
    (folder / FILE.name).write_text(text)


def secret_files(root: Path, env: Path) -> Mapping[str, str]:
    """Return the secrets by the name of their file."""
    from gatehouse.kubernetes import secret_values
    from gatehouse.kubernetes.suite import Choices, read

    given = secret_values.given_in(env)
    found = secret_values.drawn(read(root, Choices()), given, postgres="postgres:5432", redis="redis:6379")
    return {
        f"{one['metadata']['name']}_{key}".lower(): value
        for one in found
        for key, value in one["stringData"].items()
    }


def describe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", help="a folder for the stack with its secrets (default: deploy/stack.yml)")
    parser.add_argument("--registry", default="", help="where the images are: registry.example.com/team")
    parser.add_argument("--env", default=".env", help="the file with the secrets (default: .env)")
