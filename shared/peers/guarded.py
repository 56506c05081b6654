"""SSRF guard: resolve a user-supplied host once, check the addresses, connect to a checked address."""

import asyncio
import socket
import ssl
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpcore
from httpcore import SOCKET_OPTION, AsyncNetworkBackend, AsyncNetworkStream

from shared.peers.addresses import is_public, is_within, read_address
from shared.process.proxies import Network

RESOLVING_MAX = 8
ADDRESSES_TRIED = 3


class AddressRefused(Exception):
    """This service may not connect to that address. The message may be shown to those who configured it."""


class NotResolved(Exception):
    """The host name does not resolve."""


class GuardedNetwork(AsyncNetworkBackend):
    """Resolves a host once, refuses addresses that are not public, and connects to a checked address.

    This prevents DNS rebinding: a later change of the name's address has no effect. If any address of a host
    is refused, the host is refused. Addresses in `networks` may be called although they are private; with
    `private_only` no other addresses may.
    """

    def __init__(self, networks: tuple[Network, ...], *, private_only: bool = False) -> None:
        self._networks, self._private_only = networks, private_only
        self._plain = httpcore.AnyIOBackend()
        # A hanging resolver blocks only its own threads.
        self._resolvers = ThreadPoolExecutor(RESOLVING_MAX, thread_name_prefix="outbound_dns")

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface of httpcore
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        addresses = await self.checked(host, port)
        for place, address in enumerate(addresses, start=1):
            try:
                stream = await self._plain.connect_tcp(
                    address,
                    port,
                    timeout=timeout,
                    local_address=local_address,
                    socket_options=socket_options,
                )
                return _Connection(stream)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if place == len(addresses):
                    raise
        raise NotResolved(host)

    async def checked(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host if this service may call all of them."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._resolvers, _resolve, host, port)
        except (OSError, UnicodeError) as error:
            raise NotResolved(host) from error
        for text in found:
            address = read_address(text)
            if is_within(address, self._networks):
                continue
            if not is_public(address):
                raise AddressRefused("The host must have a public IP address.")
            if self._private_only:
                raise AddressRefused("The URL must begin with https://.")
        return found[:ADDRESSES_TRIED]

    def close(self) -> None:
        self._resolvers.shutdown(wait=False, cancel_futures=True)


class _Connection(AsyncNetworkStream):
    """A connection that is closed if its TLS handshake is cancelled, for which httpcore leaves it open."""

    def __init__(self, stream: AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> AsyncNetworkStream:
        try:
            return await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            await self.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _resolve(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
