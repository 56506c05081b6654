"""Finds where the replay of a shell's kept output may begin."""

from collections.abc import Awaitable, Callable

from services.terminal.holder.wire import PIECE_BYTES
from services.terminal.output import SEARCHED_BYTES_MAX, safe_start
from services.terminal.viewers import Chunk


async def first_line(fetch: Callable[[int], Awaitable[Chunk]], base: int) -> tuple[int | None, bool]:
    """Find the first offset at which an empty terminal may start to read; None if there is none.

    Also returns whether a full-screen program is active there, which then has to redraw.
    """
    base, data = (await fetch(base)).base, b""  # the holder may have dropped more meanwhile
    if base == 0:
        return 0, False
    chunk = await fetch(base)
    while chunk.data and chunk.base <= chunk.offset:
        data += chunk.data
        found = safe_start(data, is_alternate=chunk.is_alternate)
        if found is not None:
            return base + found, False
        most = SEARCHED_BYTES_MAX if chunk.is_alternate else 2 * PIECE_BYTES
        if len(data) >= most:
            break  # a single endless line has no good position, and a holder may send anything
        chunk = await fetch(base + len(data))
    return None, chunk.is_alternate
