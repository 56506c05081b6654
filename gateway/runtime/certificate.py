"""The certificate of the HTTPS port: read again after a change; a pair that does not fit changes nothing."""

import asyncio
import ssl
import sys
import time
from pathlib import Path
from typing import NoReturn

import structlog
from prometheus_client import Gauge

from gateway.settings import Settings

POLL_SECONDS = 1.0
# With several workers, the lowest of their values is reported.
SUCCESS = Gauge(
    "gateway_certificate_reload_success",
    "1 if the current certificate is active, 0 while a former one is",
    multiprocess_mode="livemin",
)
TIMESTAMP = Gauge(
    "gateway_certificate_last_reload_timestamp",
    "When the certificate was last read, in seconds since 1970",
    multiprocess_mode="livemax",
)

log = structlog.get_logger(__name__)

Signature = tuple[tuple[int, ...], ...]


class CertificateError(Exception):
    """The certificate and its key cannot be used; the message says why."""


class Certificate:
    """The pair that new connections get. Open connections keep theirs."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate, self._key = certificate, key
        self._seen = self._read = self._signature()
        self.context = self._load()
        self._note(success=True)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except (OSError, ValueError) as error:  # of files or of their content
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise CertificateError(f"{self._certificate} and {self._key}: {reason}") from None
        return context

    async def watch(self) -> None:
        """Load the pair after each change, once both files stay the same for one poll."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            before, self._seen = self._seen, self._signature()
            if self._seen not in (self._read, None) and self._seen == before:
                self._read = self._seen
                await self._reload()

    async def _reload(self) -> None:
        try:
            self.context = await asyncio.to_thread(self._load)
        except CertificateError as error:
            log.error("certificate_refused", note="the former certificate stays active", reason=str(error))  # noqa: TRY400 - the files' fault
            self._note(success=False)
        else:
            log.info("certificate_reloaded", file=str(self._certificate))
            self._note(success=True)

    def _note(self, *, success: bool) -> None:
        SUCCESS.set(success)
        TIMESTAMP.set(time.time())

    def _signature(self) -> Signature | None:
        try:
            found = [file.stat() for file in (self._certificate, self._key)]
        except OSError:
            return None  # it may be about to be replaced
        # A changed owner or mode may make a file readable, and changes only st_ctime.
        return tuple((each.st_mtime_ns, each.st_ctime_ns, each.st_size, each.st_ino) for each in found)


def first_certificate(settings: Settings) -> Certificate | None:
    """Return the certificate at startup, or exit with 2 if the pair cannot be used."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    try:
        return Certificate(settings.tls_cert, settings.tls_key)
    except CertificateError as error:
        _exit(f"TLS_CERT and TLS_KEY: {error}")


def _no_password() -> NoReturn:
    raise ValueError("the key has a password; give a key without one")


def _exit(sentence: str) -> NoReturn:
    sys.stderr.write(f"{sentence}\n")
    sys.exit(2)
