"""Proves that a backup can be restored: restores it to a scratch place, starts and reads it.

The started suite delivers no events, runs no jobs and sends nothing (BACKGROUND=off).
"""

import asyncio
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from contracts.summaries import SUMMARY
from gatehouse import programs
from gatehouse.backup import NotDone, parts, sealing
from gatehouse.backup.archive import read
from gatehouse.backup.locations import file_of, is_bucket
from gatehouse.backup.places import Openable
from gatehouse.backup.taking import SECRETS, Say
from shared.errors import Problem
from shared.peers.client import HttpClient, Peer

START_SECONDS = 180.0
STOP_SECONDS = 60.0
OUTPUT_LINES_SHOWN = 15
# The rest of the environment, such as URLs of mail servers and of Redis, does not reach the scratch suite.
# The secrets without which stored data cannot be read; not those of mail servers and other services.
_READS_WITH = re.compile(r"(KEY|JWT|INTERNAL)_SECRET(_PREVIOUS)?$")
_READS = {"auth": "/.well-known/jwks.json", "users": "/health/ready"}  # the others have dashboard numbers
_OF_BUCKETS = ("AWS_", "BACKUP_S3_")
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")


def verify(root: Path, location: str, *, passphrase: str | None, say: Say) -> None:
    place = file_of(location)
    manifest, variables = _read_through(place, passphrase)
    say(f"{place.name}: complete and undamaged, made {manifest['created']} by {manifest['version']}")
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="gatehouse-verify-")))
        environment = {
            **{name: os.environ[name] for name in _INHERITED if name in os.environ},
            **reads_with(variables or parts.variables(root)),
            **_ports(root),
            "DATA_DIR": str(scratch / "data"),
            "BACKGROUND": "off",
            "LOG_FORMAT": "json",
            **stack.enter_context(_scratch_databases(root, manifest)),
        }
        _run_restore(location, environment, passphrase)
        say("restored to a scratch folder")
        with _started(root, environment):
            say("started")
            for name, numbers in asyncio.run(_numbers(root, environment, manifest)).items():
                say(f"{name}: {numbers}")


def _read_through(place: Openable, passphrase: str | None) -> tuple[dict[str, Any], dict[str, str] | None]:
    """Compare all hashes; return the manifest, and the secrets if the backup contains them."""
    variables = None
    with read(place) as (manifest, members):
        for member, content in members:
            if member.name == SECRETS and content is not None:
                if passphrase is None:
                    raise NotDone("set BACKUP_PASSPHRASE: the secrets of this backup are sealed with it")
                variables = sealing.unseal(passphrase, manifest["id"], content.read())["variables"]
    return manifest, variables


def reads_with(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: secret for name, secret in variables.items() if _READS_WITH.search(name)}


def _ports(root: Path) -> dict[str, str]:
    found = {}
    with ExitStack() as stack:  # all are open at once, so that each gets a different port
        for name in programs.find(root):
            free = stack.enter_context(socket.socket())
            free.bind(("127.0.0.1", 0))
            found[f"{name.upper()}_PORT"] = str(free.getsockname()[1])
    return {**found, "GATEWAY_ADMIN_PORT": "0"}


@contextmanager
def _scratch_databases(root: Path, manifest: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Create a scratch database beside each PostgreSQL database; drop the scratch databases afterwards."""
    urls = {part.name: part.url for part in parts.of_suite(root)}
    wanted = [name for name, about in manifest["services"].items() if about["kind"] == "postgresql"]
    created: dict[str, str] = {}
    with ExitStack() as stack:
        for name in wanted:
            server = os.environ.get("VERIFY_DATABASE_URL") or urls.get(name, "")
            created[f"{name.upper()}_DATABASE_URL"] = stack.enter_context(_scratch_database(server, name))
        yield created


@contextmanager
def _scratch_database(server: str, service: str) -> Iterator[str]:
    if not server.startswith("postgres"):
        raise NotDone(
            f"the backup of {service} is of PostgreSQL: set VERIFY_DATABASE_URL to a server to try it on"
        )
    name = f"gatehouse_verify_{service}_{secrets.token_hex(4)}"
    plain = make_url(server).set(drivername="postgresql")
    with psycopg.connect(plain.render_as_string(hide_password=False), autocommit=True) as connection:
        try:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except psycopg.errors.InsufficientPrivilege:
            raise NotDone(
                f"the database user of {service} may not create a scratch database; "
                "set VERIFY_DATABASE_URL to the URL of one who may"
            ) from None
        try:
            yield plain.set(database=name).render_as_string(hide_password=False)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _run_restore(location: str, environment: Mapping[str, str], passphrase: str | None) -> None:
    of_bucket = is_bucket(location)
    file = location if of_bucket else str(Path(location).absolute())
    command = [sys.executable, "-m", "gatehouse", "restore", file]
    keys = {name: value for name, value in os.environ.items() if name.startswith(_OF_BUCKETS) and of_bucket}
    given = {**environment, **keys, **({"BACKUP_PASSPHRASE": passphrase} if passphrase else {})}
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    if done.returncode != 0:
        raise NotDone(f"the backup cannot be restored: {done.stderr.strip()}")


@contextmanager
def _started(root: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Run the suite until the block ends."""
    command = [sys.executable, "-m", "gatehouse", "up"]
    options: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    options |= {"cwd": root, "env": dict(environment), "start_new_session": True}
    process = subprocess.Popen(command, **options)  # noqa: S603 - our own command
    lines: list[str] = []
    is_ready = threading.Event()

    def follow() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            del lines[:-200]
            if '"service":"gatehouse","event":"ready"' in line:
                is_ready.set()
        is_ready.set()

    reading = threading.Thread(target=follow, daemon=True)
    reading.start()
    try:
        if not is_ready.wait(START_SECONDS) or process.poll() is not None:
            shown = "\n".join(lines[-OUTPUT_LINES_SHOWN:])
            raise NotDone(f"the restored suite does not start:\n{shown}")
        yield
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        reading.join()


async def _numbers(root: Path, environment: Mapping[str, str], manifest: Mapping[str, Any]) -> dict[str, str]:
    """Read from every restored service what it would tell the dashboard."""
    loaded = {program.name: program for program in programs.load(root, environment)}
    client = HttpClient()
    found = {}
    try:
        for name in manifest["services"]:
            peer = Peer.of(loaded["users"].settings, client, name=name, url=loaded[name].url)
            try:
                answer = await peer.call("GET", _READS.get(name, f"{SUMMARY}?all=true"))
            except Problem as error:
                raise NotDone(f"the restored {name} runs, but cannot be read: {error.detail}") from None
            numbers = {what: number for what, number in answer.items() if isinstance(number, int)}
            found[name] = ", ".join(f"{number} {what}" for what, number in numbers.items()) or "can be read"
    finally:
        await client.close()
    return found
