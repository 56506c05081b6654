"""The notifications service under test, with an auth service that knows a few accounts."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest

from services.notifications.app import create_app
from services.notifications.settings import Settings
from shared.testing import running
from tests.notifications.support import ACCOUNTS


class Auth(BaseHTTPRequestHandler):
    """Answers `GET /internal/accounts/{id}` like auth, and everything else with 404."""

    def do_GET(self) -> None:
        account = ACCOUNTS.get(self.path.rpartition("/")[2])
        body = json.dumps(account or {"code": "not_found"}).encode()
        self.send_response(200 if account else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        pass


@pytest.fixture(scope="package")
def auth_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Auth) as server:
        serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


@pytest.fixture
def settings(make_settings: Callable[..., Any], database_url: str, auth_url: str) -> Settings:
    made: Settings = make_settings(Settings, database_url=database_url, auth_url=auth_url)
    return made


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app, settings) as client:
        yield client
