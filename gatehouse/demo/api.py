"""The public API as one account uses it."""

import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from typing import Any

from gatehouse.demo import NotDone

TIMEOUT_SECONDS = 30
RETRIES = 8
WAIT_SECONDS_MAX = 20.0
NEXT = re.compile(r'<([^>]*)>; rel="next"')
BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


class Refused(NotDone):
    """A response that is not 2xx."""

    def __init__(self, method: str, path: str, status: int, problem: dict[str, Any]) -> None:
        super().__init__(f"{method} {path} was refused with {status}: {problem.get('detail', '')}")
        self.status, self.code = status, problem.get("code", "")


@dataclass
class Api:
    """Requests to the gateway, with the token of one account."""

    url: str
    token: str = ""

    def get(self, path: str, **query: Any) -> Any:
        return self.send("GET", _with(path, query))

    def post(self, path: str, body: Any = None) -> Any:
        return self.send("POST", path, body)

    def send(self, method: str, path: str, body: Any = None, version: int | None = None) -> Any:
        """Send a request; wait if the suite says that it is busy."""
        data, kind = (json.dumps(body).encode(), "application/json") if body is not None else (None, "")
        return self.send_bytes(method, path, data, kind, version)

    def send_bytes(
        self, method: str, path: str, data: bytes | None, kind: str, version: int | None = None
    ) -> Any:
        return self._exchange(method, path, data, kind, version)[0]

    def _exchange(
        self, method: str, path: str, data: bytes | None = None, kind: str = "", version: int | None = None
    ) -> tuple[Any, Message]:
        """Return the content of the response, and its headers."""
        headers = {"Accept": "application/json", "User-Agent": "gatehouse-demo"}
        headers |= {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers |= {"Content-Type": kind} if kind else {}
        headers |= {"If-Match": f'"{version}"'} if version is not None else {}
        request = urllib.request.Request(self.url + path, data, headers, method=method)  # noqa: S310 - http only
        for attempt in range(RETRIES):
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
                    content = response.read()
                    return (json.loads(content) if content else None), response.headers
            except urllib.error.HTTPError as error:
                if error.code not in BUSY or attempt == RETRIES - 1:
                    raise Refused(method, path, error.code, _problem(error)) from None
                wait = error.headers.get("Retry-After", "1")
                time.sleep(min(float(wait) if wait.isdigit() else 1.0, WAIT_SECONDS_MAX))
            except OSError as error:
                raise NotDone(f"{self.url} does not respond: start the suite first ({error})") from None
        raise AssertionError("unreachable")

    def upload(self, name: str, kind: str, content: bytes) -> Any:
        edge = "gatehouse-demo-part"
        place = f'Content-Disposition: form-data; name="file"; filename="{name}"'
        head = f"--{edge}\r\n{place}\r\nContent-Type: {kind}\r\n\r\n"
        body = head.encode() + content + f"\r\n--{edge}--\r\n".encode()
        return self.send_bytes("POST", "/files", body, f"multipart/form-data; boundary={edge}")

    def sign_in(self, name: str, password: str) -> "Api":
        field = "email" if "@" in name else "username"
        return Api(self.url, self.post("/auth/login", {field: name, "password": password})["token"])

    def all(self, path: str, **query: Any) -> list[Any]:
        """Return all rows of a list, from all its pages."""
        rows: list[Any] = []
        page: str | None = _with(path, {"limit": 100, **query})
        while page is not None:
            found, headers = self._exchange("GET", page)
            rows += found
            following = NEXT.search(headers.get("Link", ""))
            page = urllib.parse.urljoin(page, following[1]) if following else None
        return rows


def _with(path: str, query: dict[str, Any]) -> str:
    return f"{path}?{urllib.parse.urlencode(query)}" if query else path


def _problem(error: urllib.error.HTTPError) -> dict[str, Any]:
    try:
        found = json.loads(error.read())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
