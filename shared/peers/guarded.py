"""Connections to hosts that somebody else names: resolved once, checked, and connected to as checked."""

import asyncio
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import httpcore
from httpcore import SOCKET_OPTION, AsyncNetworkBackend, AsyncNetworkStream

from shared.peers.addresses import is_public, is_within, read_address
from shared.process.proxies import Network

RESOLVING_MAX = 8
ADDRESSES_TRIED = 3


class AddressRefused(Exception):
    """This service does not call that address; the message may be shown to who configured it."""


class NotResolved(Exception):
    """The name of the host has no address."""


class GuardedNetwork(AsyncNetworkBackend):
    """Resolves a host once, refuses addresses that are not public, and connects to the one it has checked.

    So a name that has another address a moment later leads nowhere else. When one of several addresses is
    refused, the host is: it would be reached by chance. Names in `networks` may be called all the same;
    with `private_only` nothing else may.
    """

    def __init__(self, networks: tuple[Network, ...], *, private_only: bool = False) -> None:
        self._networks, self._private_only = networks, private_only
        self._plain = httpcore.AnyIOBackend()
        # A resolver that hangs holds up its own threads, and no others of this process.
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
                return await self._plain.connect_tcp(
                    address,
                    port,
                    timeout=timeout,
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if place == len(addresses):
                    raise
        raise NotResolved(host)

    async def checked(self, host: str, port: int) -> list[str]:
        """The addresses of a host, if this service may call all of them."""
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
                raise AddressRefused("The address is not one of the public internet.")
            if self._private_only:
                raise AddressRefused("The address must begin with https://.")
        return found[:ADDRESSES_TRIED]

    def close(self) -> None:
        self._resolvers.shutdown(wait=False, cancel_futures=True)


def _resolve(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
