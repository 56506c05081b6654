"""A small LDAP client (RFC 4511): TLS or StartTLS, a simple bind, and a paged search.

Passwords are only ever sent over TLS, whose certificate is checked. The server is not trusted: messages,
entries and time are limited.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from services.inventory.ldap import ber
from services.inventory.ldap.ber import Malformed, boolean, integer, octets, sequence
from shared.peers.guarded import AddressRefused, GuardedNetwork, NotResolved
from shared.peers.outbound import OutboundSettings, tls_context

PAGE_ROWS = 500
ENTRIES_MAX = 200_000
MESSAGE_BYTES_MAX = 1024 * 1024
VALUE_CHARACTERS_MAX = 300
SECONDS_MAX = 20.0  # for one message
SESSION_SECONDS_MAX = 900.0
BIND, BOUND, SEARCH, ENTRY, FOUND, EXTENDED, ANSWERED = 0x60, 0x61, 0x63, 0x64, 0x65, 0x77, 0x78
START_TLS, PAGED = "1.3.6.1.4.1.1466.20037", "1.2.840.113556.1.4.319"
CONTROLS, SIMPLE = 0xA0, 0x80
SUBTREE, SUCCESS, NO_SUCH_OBJECT, WRONG_CREDENTIALS = 2, 0, 32, 49
PORTS = {"ldap": 389, "ldaps": 636}

Attributes = Mapping[str, str]  # the first value of each, by lower-case name


class LdapFailed(Exception):
    """The server cannot be used; the message is for the admin."""

    def __init__(self, message: str, *, is_refused: bool = False) -> None:
        self.is_refused = is_refused  # the credentials are wrong
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Message:
    tag: int
    content: bytes
    controls: bytes


class Directory:
    """A connection to a server, as `connected` opens it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._number = reader, writer, 0

    async def start_tls(self, trust: ssl.SSLContext, host: str) -> None:
        await self._send(sequence(octets(START_TLS, 0x80), tag=EXTENDED))
        _require_success(await self._receive(ANSWERED), "StartTLS")
        # Data from before the handshake must not be taken for data that came over TLS.
        if self._reader._buffer:  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public way
            raise Malformed("data before the TLS handshake")
        await self._writer.start_tls(trust, server_hostname=host)

    async def bind(self, name: str, password: str) -> None:
        if not password:
            raise LdapFailed("The password is empty, which servers take for an anonymous bind.")
        await self._send(sequence(integer(3), octets(name), octets(password, SIMPLE), tag=BIND))
        _require_success(await self._receive(BOUND), "bind")

    async def search(
        self, base: str, search_filter: bytes, names: Sequence[str]
    ) -> AsyncIterator[Attributes]:
        """Yield the entries below the base, page by page."""
        wanted = sequence(*(octets(name) for name in names))
        limits = integer(SUBTREE, ber.ENUMERATED), integer(0, ber.ENUMERATED), integer(0), integer(0)
        asked = sequence(octets(base), *limits, boolean(False), search_filter, wanted, tag=SEARCH)
        cookie, number = b"", 0
        while True:
            page = sequence(integer(PAGE_ROWS), octets(cookie))
            control = sequence(octets(PAGED), boolean(True), octets(page))
            await self._send(asked, sequence(control, tag=CONTROLS))
            while (message := await self._receive(ENTRY, FOUND)).tag == ENTRY:
                number += 1
                if number > ENTRIES_MAX:
                    raise LdapFailed(f"The search found more than {ENTRIES_MAX} entries; narrow its filter.")
                yield _attributes(message.content)
            _require_success(message, "search")
            cookie = _cookie(message.controls)
            if not cookie:
                return

    async def close(self) -> None:
        self._writer.close()

    async def _send(self, operation: bytes, controls: bytes = b"") -> None:
        self._number += 1
        self._writer.write(sequence(integer(self._number), operation, controls))
        async with asyncio.timeout(SECONDS_MAX):
            await self._writer.drain()

    async def _receive(self, *tags: int) -> Message:
        """Return the next message of one of these kinds; others, such as references, are skipped."""
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                message = await self._message()
                if message.tag in tags:
                    return message
                if message.tag == ANSWERED:  # a notice of disconnection
                    raise LdapFailed("The server ended the connection.")

    async def _message(self) -> Message:
        tag, first = await self._reader.readexactly(2)
        more = await self._reader.readexactly(ber.more_length_bytes(first))
        length = ber.length_of(first, more)
        if tag != ber.SEQUENCE or length > MESSAGE_BYTES_MAX:
            raise Malformed("not an LDAP message, or too long")
        parts = [*ber.elements(await self._reader.readexactly(length))]
        if len(parts) < 2:
            raise Malformed("an LDAP message without operation")
        controls = parts[2][1] if len(parts) > 2 and parts[2][0] == CONTROLS else b""
        return Message(*parts[1], controls)


@asynccontextmanager
async def connected(
    settings: OutboundSettings, url: str, seconds: float = SESSION_SECONDS_MAX
) -> AsyncIterator[Directory]:
    """Connect with TLS within a time limit; raises LdapFailed for every failure, then and later."""
    parts = urlsplit(url)
    host, port = str(parts.hostname), parts.port or PORTS[parts.scheme]
    trust, directory = tls_context(settings, "ldap"), None
    try:
        async with asyncio.timeout(seconds):
            async with asyncio.timeout(SECONDS_MAX):
                tls = trust if parts.scheme == "ldaps" else None
                directory = await _open(await _addresses(settings, host, port), port, host, tls)
                if tls is None:
                    await directory.start_tls(trust, host)
            yield directory
    except TimeoutError as error:
        raise LdapFailed("The server did not respond in time.") from error
    except ssl.SSLError as error:
        raise LdapFailed(f"TLS failed: {error.reason or 'unknown reason'}.") from error
    except (OSError, asyncio.IncompleteReadError) as error:
        raise LdapFailed("The connection failed or ended early.") from error
    except (ValueError, IndexError) as error:
        raise LdapFailed("The server's response is malformed.") from error
    finally:
        if directory is not None:
            await directory.close()


async def _open(addresses: Sequence[str], port: int, host: str, tls: ssl.SSLContext | None) -> Directory:
    """Connect to the first address that accepts connections."""
    name = None if tls is None else host
    for place, address in enumerate(addresses, start=1):
        try:
            return Directory(*await asyncio.open_connection(address, port, ssl=tls, server_hostname=name))
        except ssl.SSLError:
            raise
        except OSError:
            if place == len(addresses):
                raise
    raise LdapFailed("The host name does not resolve.")


async def _addresses(settings: OutboundSettings, host: str, port: int) -> Sequence[str]:
    """Return the addresses of the host, if all are public or the operator allows their networks."""
    network = GuardedNetwork(settings.outbound_networks, private_only=False)
    try:
        return await network.checked(host, port)
    except AddressRefused as error:
        raise LdapFailed(str(error)) from error
    except NotResolved as error:
        raise LdapFailed("The host name does not resolve.") from error
    finally:
        network.close()


def _require_success(message: Message, what: str) -> None:
    (_, code), _, (_, told), *_ = [*ber.elements(message.content), (0, b""), (0, b"")]
    result = ber.number(code)
    if result == SUCCESS:
        return
    if result == WRONG_CREDENTIALS:
        raise LdapFailed("The server refused the name or the password of the bind.", is_refused=True)
    if result == NO_SUCH_OBJECT:
        raise LdapFailed("The server has no entry with the base DN.")
    text = told.decode("utf-8", "replace")[:VALUE_CHARACTERS_MAX]
    raise LdapFailed(f"The server refused the {what} with result {result}: {text}".rstrip(": ") + ".")


def _attributes(content: bytes) -> Attributes:
    """Return the first value of each attribute of an entry."""
    (_, dn), (_, listed), *_ = ber.elements(content)
    found = {"dn": _text(dn)}
    for _, attribute in ber.elements(listed):
        (_, name), (_, values), *_ = ber.elements(attribute)
        first = next(ber.elements(values), None)
        if first is not None:
            found[_text(name).lower()] = _text(first[1])
    return found


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace").replace("\0", "")[:VALUE_CHARACTERS_MAX]


def _cookie(controls: bytes) -> bytes:
    for _, control in ber.elements(controls):
        (_, name), *rest = ber.elements(control)
        if name == PAGED.encode():
            ((_, page),) = ber.elements(rest[-1][1])
            _, (_, cookie) = ber.elements(page)
            return cookie
    return b""
