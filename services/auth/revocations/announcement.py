"""Has a running auth send revocations that another process has committed, such as a command."""

import asyncio

from services.auth.revocations.feed import POLL_SECONDS
from services.auth.settings import Settings
from shared.errors import Problem
from shared.identity.revocations import FEED
from shared.peers.client import HttpClient, InternalTokens

SECONDS_MAX = 2.0
SILENCE_SECONDS_MAX = 1.5


async def announce(settings: Settings, newest: int) -> bool:
    """Wait until all verifiers got the revocations up to this number; False if auth does not respond.

    Without this call auth finds them within a quarter of a second, which is too late if auth is killed
    before.
    """
    client, auth = HttpClient(), settings.auth_url.rstrip("/")
    headers = {"Authorization": f"Bearer {InternalTokens(settings).issue('auth')}"}
    try:
        async with asyncio.timeout(SECONDS_MAX):
            await client.long_poll(
                f"{auth}{FEED}?after={newest - 1}",
                headers=headers,
                silence_seconds=SILENCE_SECONDS_MAX,
                on_sign_of_life=lambda: None,
            )
            # auth delivers what it knows before any response.
            await client.long_poll(
                f"{auth}/health/live",
                headers={},
                silence_seconds=SILENCE_SECONDS_MAX,
                on_sign_of_life=lambda: None,
            )
    except (TimeoutError, Problem):
        return False
    finally:
        await client.close()
    # Only one replica of auth was asked; by then the others have looked too, and sent what they found.
    await asyncio.sleep(2 * POLL_SECONDS)
    return True
