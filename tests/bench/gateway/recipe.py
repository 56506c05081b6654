"""A typical minimal gateway in Python: a catch-all Starlette route and one httpx client."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

# httpx keeps 20 idle connections by default; with more clients it would reconnect all the time.
LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=100)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with httpx.AsyncClient(base_url=os.environ["BACKEND"], limits=LIMITS) as client:
        app.state.client = client
        yield


async def forward(request: Request) -> StreamingResponse:
    client: httpx.AsyncClient = request.app.state.client
    url = httpx.URL(path=request.url.path, query=request.url.query.encode())
    sent = client.build_request(request.method, url, headers=request.headers.raw, content=request.stream())
    answer = await client.send(sent, stream=True)
    return StreamingResponse(
        answer.aiter_raw(), answer.status_code, answer.headers, background=BackgroundTask(answer.aclose)
    )


METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
app = Starlette(routes=[Route("/{path:path}", forward, methods=METHODS)], lifespan=lifespan)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning", access_log=False)
