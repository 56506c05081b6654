"""Both ends of a leased port: a program that listens there, and a browser that visits it."""

import json
from http.server import BaseHTTPRequestHandler
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import websockets

from tests.terminal.support import Service

COOKIE = "gatehouse-port"


class Program(BaseHTTPRequestHandler):
    """A program in a box that answers with what it received."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.startswith("/broken"):
            self.wfile.write(b"this is no HTTP\r\n\r\n")
            self.close_connection = True
            return
        if self.path.startswith("/unmodified"):
            self.send_response(304)
            self.send_header("Content-Length", "500")
            self.end_headers()
            return
        if self.path.startswith("/endless"):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
            self.rfile.read(1)  # until the connection ends
            self.close_connection = True
            return
        body = self._body()
        shown = {"method": self.command, "path": self.path, "headers": dict(self.headers), "size": len(body)}
        answer = json.dumps(shown).encode()
        self.send_response(201)
        self.send_header("Set-Cookie", "mine=1; Domain=ports.localhost; Path=/")
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in (answer[:10], answer[10:]):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    do_POST = do_GET  # noqa: N815 - as the library calls it

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class Browser:
    """A browser at the host name of a port, with its cookies."""

    def __init__(self, service: Service, url: str) -> None:
        self.service, self.host = service, urlsplit(url).netloc
        self.client = httpx.AsyncClient(base_url=service.url, headers={"Host": self.host}, timeout=30)
        self.cookie = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()

    @property
    def headers(self) -> dict[str, str]:
        return {"Cookie": f"{COOKIE}={self.cookie}"} if self.cookie else {}

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {**self.headers, **more.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **more)

    async def enter(self, url: str) -> httpx.Response:
        parts = urlsplit(url)
        assert parts.netloc == self.host
        response = await self.client.get(f"{parts.path}?{parts.query}")
        if response.status_code == 303:
            given = response.headers["set-cookie"]
            assert given.endswith("; Path=/; HttpOnly; SameSite=Lax")
            self.cookie = given.partition(";")[0].removeprefix(f"{COOKIE}=")
        return response

    def connect(self, path: str = "/", **options: Any) -> websockets.connect:
        headers = {"Cookie": f"{COOKIE}={self.cookie}"} if self.cookie else {}
        usual: dict[str, Any] = {
            "additional_headers": headers,
            "origin": f"http://{self.host}",
            "proxy": None,
        }
        address: dict[str, Any] = {"host": "127.0.0.1", "port": self.service.port}
        return websockets.connect(f"ws://{self.host}{path}", **{**usual, **options}, **address)
