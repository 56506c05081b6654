"""The stream of events in Redis, if the suite uses one: its entries are of the time after the backup."""

import asyncio

from shared.events.streams import BORN, STREAM
from shared.process import redis

TIMEOUT_SECONDS = 5.0


def forget_events(url: str) -> str | None:
    """Remove the stream, so that senders resend what receivers have not acknowledged; return any error."""
    from redis.exceptions import RedisError

    try:
        asyncio.run(_forget(url))
    except (RedisError, OSError) as error:
        return f"Redis could not be reached ({error}): before you start, run redis-cli DEL {STREAM} {BORN}"
    return None


async def _forget(url: str) -> None:
    client = redis.connect(url, timeout_seconds=TIMEOUT_SECONDS)
    try:
        await client.delete(STREAM, BORN)
    finally:
        await redis.close(client)
