"""The console at `/console`: static files, which use the same API as every other client."""

import gzip
import hashlib
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.forwarding.client_protocol import ALIAS
from shared.look import BASE, TOKENS
from shared.process.observe import ROUTE

FILES = Path(__file__).parent.parent / "console"
SERVED = (".js", ".svg", "LICENCES")
STYLE = "style.css"
MEDIA_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
SHEETS = ("shell", "parts", "floating", "narrow")  # in one file, which saves requests
PLACEHOLDER = "VERSION"
ENTRY = b'<script type="module"'
HOME = "dashboard"
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
# An image that is opened by itself is a document; scripts and style sheets follow the policy of the page.
IMAGE_HEADERS = {"Content-Security-Policy": "default-src 'none'"}
IMPORT = re.compile(rb'@import url\("\.\./vendor/([\w.]+)"\);')
MODULE_IMPORT = re.compile(rb'^import [^";]*"(\.[^"]+)";', re.MULTILINE)
# Comments are a fifth of a first visit. Those of scripts are left out if they are types, or alone on a
# line.
STYLE_COMMENT = re.compile(rb"\s*/\*.*?\*/", re.DOTALL)
STYLE_SPACE = re.compile(rb"\s*([{};])\s*|([:,])\s+")
SCRIPT_COMMENT = re.compile(rb"^[ \t]*(?:/\*\*(?:(?!\*/).)*\*/|//[^\n]*)$", re.DOTALL | re.MULTILINE)
SCRIPT_TYPE = re.compile(rb"/\*\* @(?:type|param)\b[^*\n]*\*/ ?")  # also within a line
INDENTATION = re.compile(rb"^[ \t]+", re.MULTILINE)
IMMUTABLE = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file in memory, plain and compressed, with the tag of its content."""

    plain: bytes
    packed: bytes
    tag: str
    media_type: str

    @classmethod
    def of(cls, content: bytes, name: str) -> "Asset":
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        media_type = MEDIA_TYPES.get(Path(name).suffix, "text/plain")
        return cls(content, gzip.compress(content, 9, mtime=0), tag, media_type)

    def response(self, request: Request, headers: dict[str, str]) -> Response:
        """Return the file, or 304 if the client has it; compressed if the client accepts that."""
        headers = {**headers, "ETag": self.tag, "Vary": "Accept-Encoding"}
        tags = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
        if self.tag in tags:
            return Response(status_code=304, headers=headers)
        if _accepts_gzip(request.headers.get("accept-encoding", "")):
            return Response(
                self.packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=self.media_type
            )
        return Response(self.plain, headers=headers, media_type=self.media_type)


class Console:
    """Serves the page, and its files under an address that changes with their content."""

    def __init__(self, folder: Path = FILES) -> None:
        contents = {  # each screen loads its own styles
            file.relative_to(folder).as_posix(): _without_comments(file)
            for file in sorted(folder.rglob("*"))
            if file.name.endswith(SERVED) or file.match("pages/*.css")
        }
        for name in [one for one in contents if one.endswith(".css")]:
            contents[name] = IMPORT.sub(lambda found: _vendored(folder, found[1]), contents[name])
        sheets = [TOKENS, BASE, *(folder / "style" / f"{name}.css" for name in SHEETS)]
        contents[STYLE] = _short_styles(b"\n".join(sheet.read_bytes() for sheet in sheets))
        page = (folder / "index.html").read_bytes()
        every = b"\0".join([page, *(name.encode() + b"\0" + body for name, body in contents.items())])
        self.version = hashlib.sha256(every).hexdigest()[:12]
        self._files = {name: Asset.of(body, name) for name, body in contents.items()}
        self._page = self._page_with(page, [])
        self._pages = {
            name.removeprefix("pages/").removesuffix(".js"): self._page_with(page, modules_of(name, contents))
            for name in contents
            if name.startswith("pages/") and name.endswith(".js")
        }

    def _page_with(self, page: bytes, modules: list[str]) -> Asset:
        """Return the page; the browser fetches these modules together, instead of one after the other."""
        links = b"".join(
            b'<link rel="modulepreload" href="/console/VERSION/%b">\n' % one.encode()
            for one in modules
            if one.encode() not in page
        )
        whole = page.replace(ENTRY, links + ENTRY).replace(PLACEHOLDER.encode(), self.version.encode())
        return Asset.of(whole, "index.html")

    @property
    def routes(self) -> list[BaseRoute]:
        return [
            Route("/console", self.show_page),
            Route("/console/", self.show_page),
            Route("/console/{page}", self.show_page),
            Route("/console/{version}/{name:path}", self.show_file),
        ]

    @property
    def style_address(self) -> str:
        return f"/console/{self.version}/{STYLE}"

    async def show_page(self, request: Request) -> Response:
        """Show the page; its script decides by the address what to show."""
        if request.scope.get(ALIAS) is not None:
            raise HTTPException(404)  # under /api, because the page refers to its files by their full path
        request.scope[ROUTE] = "/console"
        page = self._pages.get(request.path_params.get("page", HOME), self._page)
        return page.response(request, {**SECURITY_HEADERS, "Cache-Control": "no-cache"})

    async def show_file(self, request: Request) -> Response:
        request.scope[ROUTE] = "/console/files"
        found = self._files.get(request.path_params["name"])
        if found is None or request.scope.get(ALIAS) is not None:
            raise HTTPException(404)
        # During an update, a page of one version may request its files from a gateway of another version.
        kept = IMMUTABLE if request.path_params["version"] == self.version else "no-store"
        policy = IMAGE_HEADERS if found.media_type == "image/svg+xml" else {}
        return found.response(request, {**policy, "Cache-Control": kept})


def modules_of(name: str, contents: Mapping[str, bytes]) -> list[str]:
    """Return a module and all that it imports before it runs, in turn."""
    found = [name]
    for module in found:
        for target in MODULE_IMPORT.findall(contents[module]):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(module), target.decode()))
            if path not in found:
                found.append(path)
    return found


def _without_comments(file: Path) -> bytes:
    """Return a file; a script without its comments and indentation, but with every line where it was."""
    content = file.read_bytes()
    if file.suffix == ".css":
        return _short_styles(content)
    if file.suffix != ".js" or file.parent.name == "vendor":
        return content
    content = SCRIPT_COMMENT.sub(lambda found: b"\n" * found[0].count(b"\n"), content)
    return INDENTATION.sub(b"", SCRIPT_TYPE.sub(b"", content))


def _vendored(folder: Path, name: bytes) -> bytes:
    """Return a vendored style sheet, which becomes a part of the one that imports it."""
    return _short_styles((folder / "vendor" / name.decode()).read_bytes())


def _short_styles(content: bytes) -> bytes:
    return STYLE_SPACE.sub(rb"\1\2", STYLE_COMMENT.sub(b"", content))


def _accepts_gzip(header: str) -> bool:
    for part in header.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
