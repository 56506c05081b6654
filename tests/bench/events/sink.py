"""A subscriber that accepts and discards every event."""

import os

import uvicorn
from starlette.types import Receive, Scope, Send


async def take(_scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


if __name__ == "__main__":
    uvicorn.run(take, port=int(os.environ["PORT"]), lifespan="off", log_level="warning", access_log=False)
