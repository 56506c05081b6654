"""Handlers for the page at /terminal/ and its assets."""

import hashlib
import mimetypes
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from shared.errors import NotFound
from shared.http.schemas import Text

FOLDER = Path(__file__).resolve().parent.parent
FILES = {
    file.name: file.read_bytes()
    for folder in ("page", "page/vendor", "client")
    for file in sorted((FOLDER / folder).iterdir())
    if file.suffix in (".html", ".css", ".js", ".mjs")
}
TYPES = {".mjs": "text/javascript", ".js": "text/javascript"}
INDEX = "index.html"
HEADERS = {
    # style-src allows inline styles because xterm.js generates style sheets for colours and font size.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


async def show_page(request: Request) -> Response:
    """Show the terminal page."""
    return _file(request, INDEX)


async def show_asset(name: Text, request: Request) -> Response:
    """Show a script or style sheet of the page."""
    if name not in FILES or name == INDEX:
        raise NotFound
    return _file(request, name)


def _file(request: Request, name: str) -> Response:
    content = FILES[name]
    tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
    headers = {**HEADERS, "ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    kind = TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0]
    return Response(content, headers=headers, media_type=kind)
