"""A real gateway per test, on the event loop it uses in production."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.settings import Settings
from tests.gateway.backends import Backend, Handler, echo
from tests.gateway.support import RunningGateway

Start = Callable[..., Awaitable[RunningGateway]]
StartBackend = Callable[..., Awaitable[Backend]]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def start_backend(stack: AsyncExitStack) -> StartBackend:
    async def start(handler: Handler = echo) -> Backend:
        return await stack.enter_async_context(Backend(handler))

    return start


@pytest.fixture
def start_gateway(stack: AsyncExitStack, make_settings: Callable[..., Any], tmp_path: Path) -> Start:
    async def start(routes: str, **settings: Any) -> RunningGateway:
        made = make_settings(Settings, **{"admin_port": 0, **settings})
        return await stack.enter_async_context(RunningGateway(routes, made, tmp_path))

    return start


@pytest.fixture
async def backend(start_backend: StartBackend) -> Backend:
    """Echoes requests."""
    return await start_backend()


@pytest.fixture
async def gateway(start_gateway: Start, backend: Backend) -> RunningGateway:
    """Forwards everything under /open to the backend, and under /orders with a token."""
    return await start_gateway(f"""
routes:
  - {{path: /open, backend: "{backend.url}", auth: none, rate_limit: {{rate: 100000/s}}, body_max: 1GiB}}
  - {{path: /orders, backend: "{backend.url}"}}
""")
