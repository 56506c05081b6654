"""Whether this process traces, as the `OTEL_` variables of its environment say."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

from shared.tracing.context import Sampler
from shared.tracing.spans import SWITCH, Tracing

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
HEADERS_FILE = "OTEL_EXPORTER_OTLP_HEADERS_FILE"  # the SDK itself reads no files
EXPORTER = "OTEL_TRACES_EXPORTER"
DISABLED = "OTEL_SDK_DISABLED"
PROTOCOL = "http/protobuf"
PACKAGE = "opentelemetry.exporter.otlp.proto.http"


def is_wanted(environment: Mapping[str, str]) -> bool:
    if environment.get(DISABLED, "").lower() == "true" or environment.get(EXPORTER) == "none":
        return False
    return environment.get(EXPORTER) == "otlp" or any(environment.get(name) for name in ENDPOINTS)


def faults(environment: Mapping[str, str]) -> list[str]:
    """Return what is wrong with the settings of tracing, one sentence for each variable."""
    if environment.get(EXPORTER) not in (None, "", "otlp", "none"):
        return [f"{EXPORTER}: must be otlp or none"]
    if not is_wanted(environment):
        return []
    found = [
        f"{name}: must be a URL like http://collector:4318"
        for name in ENDPOINTS
        if environment.get(name) and not environment[name].startswith(("http://", "https://"))
    ]
    found += [
        f"{name}: must be {PROTOCOL}, the only protocol that Gatehouse exports with"
        for name in PROTOCOLS
        if environment.get(name) not in (None, "", PROTOCOL)
    ]
    try:
        headers(environment)
    except (OSError, UnicodeDecodeError) as error:
        found.append(f"{HEADERS_FILE}: cannot be read: {error}")
    try:
        Sampler.of(environment, "")
    except ValueError as error:
        found.append(str(error))
    if not _is_installed():
        given = next((name for name in ENDPOINTS if environment.get(name)), EXPORTER)
        found.append(
            f"{given}: tracing needs packages that are not installed; "
            "install the extra gatehouse[tracing], or unset the variable"
        )
    return found


def headers(environment: Mapping[str, str]) -> str:
    """Return what OTEL_EXPORTER_OTLP_HEADERS_FILE holds; it may be the key of a collector."""
    file = environment.get(HEADERS_FILE)
    return Path(file).read_text().strip() if file else ""


def _is_installed() -> bool:
    try:
        return find_spec(PACKAGE) is not None and find_spec("opentelemetry.sdk.trace") is not None
    except ModuleNotFoundError:  # of a package above it
        return False


@asynccontextmanager
async def tracing(service: str, secret: str) -> AsyncIterator[None]:
    """Trace while this is open, if the environment says so.

    `secret` is INTERNAL_SECRET, so that all processes sample the same traces.
    The SDK starts a thread, so this belongs after everything that forks.
    """
    if not is_wanted(os.environ):
        yield
        return
    from shared.tracing.sdk import SdkTracer  # a process that does not trace does not need OpenTelemetry

    tracer, before = SdkTracer(service, headers(os.environ)), SWITCH.tracing
    SWITCH.tracing = Tracing(tracer, Sampler.of(os.environ, secret))
    try:
        yield
    finally:
        SWITCH.tracing = before
        await asyncio.to_thread(tracer.close)
