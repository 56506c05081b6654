"""Searches of LDAP servers: pages by cookie, and a bound on the number of entries."""

import asyncio
from typing import Any, cast

import pytest

from services.inventory.ldap import ber, client
from services.inventory.ldap.ber import integer, octets, sequence
from services.inventory.ldap.client import (
    CONTROLS,
    ENTRY,
    FOUND,
    PAGED,
    Directory,
    LdapFailed,
)
from services.inventory.ldap.filters import encoded

EVERYBODY = encoded("(uid=*)")


class Server:
    """Answers each search with the next page, and keeps the cookies that it was sent."""

    def __init__(self, *pages: tuple[list[str], bytes]) -> None:
        self._pages, self.cookies, self.reader = [*pages], list[bytes](), asyncio.StreamReader()

    def write(self, message: bytes) -> None:
        ((_, content),) = ber.elements(message)
        (_, number), _, (_, controls) = ber.elements(content)
        ((_, control),) = ber.elements(controls)
        ((_, kind), _, (_, value)) = ber.elements(control)
        assert kind == PAGED.encode()
        ((_, page),) = ber.elements(value)
        (_, (_, cookie)) = ber.elements(page)
        self.cookies.append(cookie)
        names, following = self._pages.pop(0)
        for name in names:
            attribute = sequence(octets("uid"), sequence(octets(name), tag=ber.SET))
            entry = sequence(octets(f"uid={name}"), sequence(attribute), tag=ENTRY)
            self.reader.feed_data(sequence(octets(number, ber.INTEGER), entry))
        result = sequence(integer(0, ber.ENUMERATED), octets(""), octets(""), tag=FOUND)
        answer = sequence(octets(PAGED), octets(sequence(integer(0), octets(following))))
        self.reader.feed_data(sequence(octets(number, ber.INTEGER), result, sequence(answer, tag=CONTROLS)))

    async def drain(self) -> None:
        """Do nothing, because every write is complete at once."""

    def directory(self) -> Directory:
        return Directory(self.reader, cast(Any, self))


async def found(server: Server) -> list[str]:
    return [one["uid"] async for one in server.directory().search("dc=x", EVERYBODY, ["uid"])]


async def test_each_page_is_asked_for_with_the_cookie_of_the_one_before() -> None:
    server = Server((["ann", "bob"], b"one\x00"), ([], b"two"), (["carla"], b""))

    assert await found(server) == ["ann", "bob", "carla"]
    assert server.cookies == [b"", b"one\x00", b"two"]


async def test_search_ends_at_the_maximum_number_of_entries_over_all_pages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "ENTRIES_MAX", 3)

    assert await found(Server((["ann", "bob"], b"more"), (["carla"], b""))) == ["ann", "bob", "carla"]
    with pytest.raises(LdapFailed, match="more than 3 entries; narrow its filter"):
        await found(Server((["ann", "bob"], b"more"), (["carla", "dmitri"], b"")))
