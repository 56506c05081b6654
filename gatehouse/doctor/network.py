"""Checks of ports, of every address in the settings, of certificates and clocks."""

import errno
import http.client
import re
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from gatehouse.ports import fault_of_binding
from gatehouse.programs import GATEWAY, Program
from shared.process.checkup import ASK_SECONDS, Finding, fault, good, warning

SKEW_SECONDS_MAX = 2.0
CERTIFICATE_DAYS_FAULT, CERTIFICATE_DAYS_WARNING = 7, 21
DEFAULT_PORTS = {"http": 80, "https": 443, "smtp": 587, "smtps": 465}
_LISTENING = "0A"


def port(program: Program) -> Iterator[Finding]:
    """Check that the port is free, or that this program has it."""
    name, host, number = f"{program.name} port", program.settings.host, program.settings.port
    address = "127.0.0.1" if host == "0.0.0.0" else "::1" if host == "::" else host  # noqa: S104 - no binding
    taken = fault_of_binding(host, number)
    if taken is None:
        yield good(name, f"{number} is free; {program.name} does not run")
    elif taken.errno != errno.EADDRINUSE:
        yield fault(
            name,
            f"cannot listen on {host}:{number} ({taken.strerror})",
            f"Check {program.name.upper()}_HOST and {program.name.upper()}_PORT.",
        )
    elif (held := _answer(address, number, program.name)) is None:
        holder = holder_of(number)
        words = f"{number} is held by {holder or 'another program'}"
        yield fault(name, words, f"Stop it, or set {program.name.upper()}_PORT to another port.")
    else:
        is_ready, skew = held
        if not is_ready:
            words = f"{program.name} runs on {number}, but is not ready"
            yield fault(name, words, f"See {program.url}/health/ready and its log.")
        elif abs(skew) > SKEW_SECONDS_MAX:
            yield _skewed(name, skew)
        else:
            yield good(name, f"{program.name} runs on {number} and is ready")


def is_open(program: Program) -> bool:
    """Whether a process has the port of this program."""
    taken = fault_of_binding(program.settings.host, program.settings.port)
    return taken is not None and taken.errno == errno.EADDRINUSE


def _answer(host: str, number: int, name: str) -> tuple[bool, float] | None:
    """Return whether this program is ready, and its clock's lead; None if another program has the port."""
    own, title = ("/", "Gatehouse") if name == GATEWAY else ("/openapi.json", name)
    try:
        status, _, body = _get(host, number, own)
        if status != http.client.OK or f'"{title}"'.encode() not in body:
            return None
        status, headers, _ = _get(host, number, "/health/ready")
    except (OSError, http.client.HTTPException):
        return None
    return status == http.client.OK, _lead(headers.get("date", ""))


def _get(host: str, number: int, path: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(host, number, timeout=ASK_SECONDS)
    try:
        connection.request("GET", path, headers={"Accept": "application/json"})
        response = connection.getresponse()
        headers = {key.lower(): value for key, value in response.getheaders()}
        return response.status, headers, response.read(4 << 20)
    finally:
        connection.close()


def _lead(date: str) -> float:
    """Return by how many seconds another clock is ahead; a Date header has whole seconds."""
    try:
        lead = parsedate_to_datetime(date).timestamp() - time.time()
    except (TypeError, ValueError):
        return 0.0
    return lead if lead > 0 else min(0.0, lead + 1.0)


def _skewed(name: str, seconds: float) -> Finding:
    words = f"its clock is {abs(seconds):.1f} s {'ahead' if seconds > 0 else 'behind'}"
    return fault(name, words, "Synchronise the clocks (chrony or systemd-timesyncd): tokens depend on them.")


def clock(name: str, others: float) -> Iterator[Finding]:
    """Compare the time of another server with ours."""
    if abs(lead := others - time.time()) > SKEW_SECONDS_MAX:
        yield _skewed(name, lead)


def holder_of(number: int) -> str:
    """Return the name and id of the process that listens on a port; empty if this user may not see it."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        lines = Path(table).read_text().splitlines()[1:] if Path(table).exists() else []
        for fields in map(str.split, lines):
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == number:
                inodes.add(f"socket:[{fields[9]}]")
    for file in Path("/proc").glob("[0-9]*/fd/*") if inodes else ():
        try:
            if str(file.readlink()) in inodes:
                process = file.parts[2]
                return f"{Path('/proc', process, 'comm').read_text().strip()} (process {process})"
        except OSError:  # ended meanwhile, or of another user
            continue
    return ""


def addresses(programs: Iterable[Program]) -> dict[tuple[str, int], tuple[str, str]]:
    """Return the servers that somebody set beside the suite's own, with a variable and the URL's scheme."""
    programs = list(programs)
    own = {(one.settings.host, one.settings.port) for one in programs}
    own |= {("localhost", one.settings.port) for one in programs}
    own |= {("127.0.0.1", one.settings.port) for one in programs}
    found: dict[tuple[str, int], tuple[str, str]] = {}
    for program in programs:
        for name, value in program.settings:
            text = program.environment.get(name.upper())
            if f"{name.upper()}_FILE" in program.environment:
                text = value.get_secret_value() if isinstance(value, SecretStr) else value
            if not isinstance(text, str) or not re.match(r"(https?|smtps?)://", text):
                continue
            parts = urlsplit(text)
            place = (parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme])
            if place not in own:
                found.setdefault(place, (name.upper(), parts.scheme))
    return found


def reachable(host: str, number: int, variable: str, scheme: str) -> Iterator[Finding]:
    """Check that something listens there; over TLS, that its certificate is valid for a while."""
    name = f"{variable} {host}:{number}"
    try:
        began = time.monotonic()
        with socket.create_connection((host, number), ASK_SECONDS) as connection:
            took = (time.monotonic() - began) * 1000
            if scheme not in ("https", "smtps"):
                yield good(name, f"reachable in {took:.0f} ms")
                return
            with ssl.create_default_context().wrap_socket(connection, server_hostname=host) as tls:
                yield from certificate(name, str((tls.getpeercert() or {}).get("notAfter", "")))
    except socket.gaierror:
        yield fault(name, "the name does not resolve", f"Correct {variable}, or the DNS entry.")
    except ssl.SSLCertVerificationError as error:
        yield fault(name, f"its certificate is not valid: {error.verify_message}", "Renew the certificate.")
    except OSError as error:
        words = error.strerror or str(error) or type(error).__name__
        yield fault(name, f"not reachable ({words})", f"Start it, or correct {variable}.")


def certificate(name: str, expires: str) -> Iterator[Finding]:
    """Check how long a certificate is valid; `expires` is a date as OpenSSL prints it."""
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(expires), UTC)
    days = (until - datetime.now(UTC)).total_seconds() / 86_400
    words = f"its certificate expires on {until:%Y-%m-%d}"
    if days < CERTIFICATE_DAYS_FAULT:
        yield fault(name, words, "Renew the certificate now.")
    elif days < CERTIFICATE_DAYS_WARNING:
        yield warning(name, words, "Renew the certificate.")
    else:
        yield good(name, words)
