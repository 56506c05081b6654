"""Reading a list of another service page by page."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shared.client import HttpClient
from shared.errors import Unavailable


@asynccontextmanager
async def answering(body: object, *headers: str) -> AsyncIterator[str]:
    """A server that gives every request this one answer."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        content = json.dumps(body)
        head = "\r\n".join(
            ["HTTP/1.1 200 OK", f"content-length: {len(content)}", "connection: close", *headers]
        )
        writer.write(f"{head}\r\n\r\n{content}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    client = HttpClient()
    yield client
    await client.close()


async def test_the_cursor_is_that_of_the_next_link(client: HttpClient) -> None:
    async with answering([1, 2], 'link: <?limit=2&cursor=a%2Bb>; rel="next"') as url:
        page = await client.page(f"{url}/numbers?limit=2")

    assert page.items == [1, 2]
    assert page.next == "a+b"


@pytest.mark.parametrize(
    "headers", [(), ('link: <?cursor=x>; rel="prev"',), ('link: <?limit=2>; rel="next"',)]
)
async def test_the_last_page_has_no_cursor(client: HttpClient, headers: tuple[str, ...]) -> None:
    async with answering([], *headers) as url:
        page = await client.page(url)

    assert page.items == []
    assert page.next is None


@pytest.mark.parametrize("body", [None, {"items": []}, "list"])
async def test_what_is_no_list(client: HttpClient, body: object) -> None:
    async with answering(body) as url:
        with pytest.raises(Unavailable):
            await client.page(url)
