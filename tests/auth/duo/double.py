"""A fake Duo for tests: a TLS server with its own CA that speaks the protocol of the Universal Prompt."""

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt

from tests.shared.test_outbound import certificate

IKEY, SKEY = "DIXXXXXXXXXXXXXXXXXX", "deadbeefdeadbeefdeadbeefdeadbeefdeadbeef"
PADDED = SKEY.encode().ljust(64, b"\0")  # the same HMAC key, long enough for PyJWT not to warn
Change = Callable[[dict[str, Any]], object]


class FakeDuo:
    """The state of the server; `reset` makes it honest again."""

    def __init__(self, host: str, ca: Path) -> None:
        self.host, self.ca = host, ca
        self.released = threading.Event()
        self.reset()

    def reset(self) -> None:
        self.released.set()
        self.released = threading.Event()
        self.codes: dict[str, dict[str, Any]] = {}
        self.assertions: set[str] = set()
        self.requests: list[str] = []
        self.raw: dict[str, tuple[int, bytes]] = {}  # by the last part of the path
        self.hanging: set[str] = set()
        self.change: Change = lambda claims: None
        self.key: bytes = PADDED

    def approve(self, url: str) -> dict[str, str]:
        """Act as the person who approves at Duo; return the query that the browser brings back."""
        parts = urlsplit(url)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        assert (parts.scheme, parts.netloc, parts.path) == ("https", self.host, "/oauth/v1/authorize")
        assert (query["response_type"], query["client_id"]) == ("code", IKEY)
        asked = jwt.decode(
            query["request"], PADDED, algorithms=["HS512"], audience=f"https://{self.host}", issuer=IKEY
        )
        assert (asked["response_type"], asked["scope"], asked["client_id"]) == ("code", "openid", IKEY)
        assert asked["use_duo_code_attribute"] is True
        assert 16 <= len(asked["state"]) <= 1024
        assert 16 <= len(query["nonce"]) <= 1024
        assert asked["exp"] <= time.time() + 300
        code = f"code-{len(self.codes)}"
        self.codes[code] = {**asked, "nonce": query["nonce"]}
        return {"state": asked["state"], "duo_code": code}

    def deny(self, url: str) -> dict[str, str]:
        """Act as the person who refuses."""
        given = self.approve(url)
        return {"state": given["state"], "error": "access_denied", "error_description": "Login denied"}

    def serve(self, path: str, form: dict[str, str]) -> tuple[int, bytes]:
        if not self._is_client(path, form):
            return 400, b'{"stat": "FAIL", "error": "invalid_client"}'
        if path == "/oauth/v1/health_check":
            return 200, json.dumps({"stat": "OK", "response": {"timestamp": int(time.time())}}).encode()
        asked = self.codes.pop(form.get("code", ""), None)  # each code is valid once
        if asked is None or asked["redirect_uri"] != form.get("redirect_uri"):
            return 400, b'{"error": "invalid_grant"}'
        now = int(time.time())
        claims = {
            "iss": f"https://{self.host}/oauth/v1/token",
            "aud": IKEY,
            "sub": asked["duo_uname"],
            "preferred_username": asked["duo_uname"],
            "nonce": asked["nonce"],
            "iat": now,
            "exp": now + 3600,
            "auth_time": now,
            "auth_result": {"result": "allow", "status": "allow", "status_msg": "Login Successful"},
        }
        self.change(claims)
        signed = jwt.encode(claims, self.key, algorithm="HS512")
        body = {"id_token": signed, "access_token": "opaque", "token_type": "Bearer", "expires_in": 3600}
        return 200, json.dumps(body).encode()

    def _is_client(self, path: str, form: dict[str, str]) -> bool:
        try:
            claims = jwt.decode(
                form.get("client_assertion", ""),
                PADDED,
                algorithms=["HS512"],
                audience=f"https://{self.host}{path}",
                issuer=IKEY,
            )
        except jwt.PyJWTError:
            return False
        is_new = claims["jti"] not in self.assertions
        self.assertions.add(claims["jti"])
        return is_new and claims["sub"] == form.get("client_id") == IKEY


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    duo: FakeDuo

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        duo, last = self.duo, self.path.rpartition("/")[2]
        duo.requests.append(self.path)
        if last in duo.hanging:
            duo.released.wait()
            self.close_connection = True
            return
        status, answer = duo.raw[last] if last in duo.raw else duo.serve(self.path, form)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Ignore clients that hang up, as they do at their deadline."""


@contextmanager
def serving(folder: Path) -> Iterator[FakeDuo]:
    ca, _ = certificate(folder, "localhost")
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trust.load_cert_chain(ca, folder / "key.pem")
    server = _Server(("127.0.0.1", 0), _Handler)
    server.socket = trust.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    duo = _Handler.duo = FakeDuo(f"localhost:{server.server_port}", ca)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield duo
    finally:
        duo.reset()
        server.shutdown()
        thread.join()
        server.server_close()
