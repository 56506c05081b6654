"""The notifications service under test, with an auth service that knows a few accounts."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest

from contracts.events import OF_DELIVERIES, SUBSCRIBERS
from services.notifications import app, courier
from services.notifications.app import create_app
from services.notifications.settings import Settings
from shared.events import Subscriber
from shared.testing import running
from shared.work import changes
from tests.notifications import smtp
from tests.notifications.smtp import OK, Server
from tests.notifications.support import ACCOUNTS, KEY_SECRET, Start


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


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscriber to the events about deliveries. It cannot be reached, so they stay in the outbox."""
    nowhere = Subscriber("http://127.0.0.1:9", *OF_DELIVERIES)  # the discard port
    monkeypatch.setattr(app, "SUBSCRIBERS", {**SUBSCRIBERS, "listener": nowhere})


@pytest.fixture(scope="package")
def smtp_server() -> Iterator[Server]:
    with smtp.serving() as server:
        yield server


@pytest.fixture
def server(smtp_server: Server) -> Server:
    smtp_server.at_recipient = lambda _: OK
    smtp_server.at_content = lambda _: OK
    return smtp_server


@pytest.fixture
def start(
    make_settings: Callable[..., Any],
    database_url: str,
    auth_url: str,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> Start:
    """Starts services that send to the server, and try again at once."""
    monkeypatch.setattr(courier, "RETRY_FIRST", timedelta(0))
    monkeypatch.setattr(courier, "AWAY_FIRST", timedelta(0))
    monkeypatch.setattr(changes, "LOOK_SECONDS_LISTENING", 0.05)

    def starting(**values: Any) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        usual = {
            "database_url": database_url,
            "auth_url": auth_url,
            "key_secret": KEY_SECRET,
            "smtp_url": f"smtp://127.0.0.1:{server.port}",
            "mail_from": "no-reply@example.com",
        }
        return running(create_app, make_settings(Settings, **{**usual, **values}))

    return starting
