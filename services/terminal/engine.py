"""Detects a Docker engine at the start, without importing its library."""

import http.client
import socket
from urllib.parse import quote

ASK_SECONDS = 2.0


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=ASK_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ASK_SECONDS)
        self.sock.connect(self._path)


def has_image(socket_path: str, image: str) -> bool:
    """Whether an engine responds on this socket and has the image."""
    connection = _Connection(socket_path)
    try:
        connection.request("GET", f"/images/{quote(image, safe=':/')}/json")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
