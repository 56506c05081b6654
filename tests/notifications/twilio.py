"""Twilio's Messages API as a fake: it checks the login, keeps what it accepts, and misbehaves on demand."""

import hmac
import json
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

SECONDS_MAX = 60
ACCOUNT, SECRET, FROM = "AC0123456789abcdef", "token-of-the-test", "+15005550006"


@dataclass(frozen=True)
class Reply:
    """A response to a POST, given after `late` seconds or never; `accepts` says if the message is sent."""

    status: int = 201
    code: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    late: float = 0.0
    hangs: bool = False
    accepts: bool = True


@dataclass(frozen=True)
class Message:
    sid: str
    to: str
    body: str
    created: datetime
    callback: str | None = None

    @property
    def shown(self) -> dict[str, str]:
        created = format_datetime(self.created)
        return {"sid": self.sid, "to": self.to, "body": self.body, "date_created": created, "status": "sent"}


class Twilio(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 100

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply: Callable[[str], Reply] = lambda _body: Reply()
        self.list_status = 200
        self.closing = threading.Event()
        self._lock, self._messages, self.calls = threading.Lock(), list[Message](), list[str]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def settings(self) -> dict[str, str]:
        return {
            "twilio_account_sid": ACCOUNT,
            "twilio_auth_token": SECRET,
            "twilio_from_number": FROM,
            "twilio_url": self.url,
        }

    @property
    def messages(self) -> list[Message]:
        with self._lock:
            return [*self._messages]

    def to(self, number: str) -> list[str]:
        return [one.body for one in self.messages if one.to == number]

    def post(self, to: str, body: str, callback: str | None) -> tuple[Reply, Message]:
        with self._lock:
            reply = self.reply(body)
            self.calls.append(body)
            created = datetime.now(UTC).replace(microsecond=0)
            message = Message(f"SM{len(self.calls):032}", to, body, created, callback)
            if reply.accepts and not reply.hangs:
                self._messages.append(message)
        return reply, message


def report(message: Message, status: str, error: int | None = None) -> tuple[str, bytes, dict[str, str]]:
    """Return the path, the body and the headers with which Twilio reports the state of a message."""
    assert message.callback is not None
    fields = {"MessageSid": message.sid, "MessageStatus": status, "To": message.to, "AccountSid": ACCOUNT}
    fields |= {} if error is None else {"ErrorCode": str(error)}
    signed = message.callback + "".join(name + fields[name] for name in sorted(fields))
    signature = b64encode(hmac.digest(SECRET.encode(), signed.encode(), "sha1")).decode()
    headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": signature}
    parts = urlsplit(message.callback)
    return f"{parts.path}?{parts.query}", urlencode(fields).encode(), headers


class _Handler(BaseHTTPRequestHandler):
    server: Twilio

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if len(body) < int(self.headers["Content-Length"]):  # the client was killed while it sent it
            self.close_connection = True
            return
        form = parse_qs(body.decode())
        if not self._is_allowed():
            return
        assert form["From"] == [FROM]
        reply, message = self.server.post(
            form["To"][0], form["Body"][0], form.get("StatusCallback", [None])[0]
        )
        self.server.closing.wait(SECONDS_MAX if reply.hangs else reply.late)
        shown: dict[str, Any] = {"code": reply.code, "message": "refused", "status": reply.status}
        self._answer(reply.status, message.shown if reply.status == 201 else shown, reply.headers)

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if self._is_allowed():
            mine = [one.shown for one in self.server.messages if [one.to] == query["To"]][::-1]
            listed = mine[: int(query["PageSize"][0])]
            self._answer(self.server.list_status, {"messages": listed}, {})

    def _is_allowed(self) -> bool:
        wanted = b64encode(f"{ACCOUNT}:{SECRET}".encode()).decode()
        path = urlsplit(self.path).path
        is_known = path == f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
        if is_known and self.headers["Authorization"] == f"Basic {wanted}":
            return True
        self._answer(401, {"code": 20003}, {})
        return False

    def _answer(self, status: int, shown: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        body = json.dumps(shown).encode()
        try:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        except OSError:  # the client has given up
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        pass


@contextmanager
def serving() -> Iterator[Twilio]:
    with Twilio() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()
