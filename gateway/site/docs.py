"""`/openapi.json`, and the page at `/docs` that shows it and sends requests."""

import asyncio
import hashlib
import json
import mimetypes
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.forwarding.client_protocol import ALIAS
from gateway.routing.upstreams import Origin
from gateway.runtime.gateway import Gateway
from gateway.site.openapi_components import Document, is_usable
from gateway.site.openapi_merge import merge
from shared.errors import Problem
from shared.look import TOKENS
from shared.process.observe import ROUTE

ASK_SECONDS = 3.0
KEPT_SECONDS = 60.0
KEPT_INCOMPLETE_SECONDS = 5.0  # a service that has just come up should not be missing for a minute
PAGES = Path(__file__).with_name("pages")
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}

log = structlog.get_logger(__name__)


class Docs:
    """Fetches the document of every service and caches the merged one for a minute."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._table = gateway.table  # the table that the merged document describes
        self._asking = asyncio.Lock()
        self._documents: dict[str, Document] = {}  # the last valid one of each service, kept while it is down
        self._merged = b""
        self._good_until = float("-inf")
        self._files = {file.name: file.read_bytes() for file in (*sorted(PAGES.iterdir()), TOKENS)}
        self._version = hashlib.sha256(b"".join(self._files.values())).hexdigest()[:12]
        page = self._files["docs.html"].decode()
        self._page = page.replace("docs/files/", f"docs/{self._version}/").encode()

    @property
    def routes(self) -> list[BaseRoute]:
        return [
            Route("/openapi.json", self.show_openapi),
            Route("/docs", self.show_page),
            Route("/docs/{version}/{name}", self.show_file),
        ]

    async def show_openapi(self, request: Request) -> Response:
        request.scope[ROUTE] = "/openapi.json"
        request.scope[ALIAS] = None  # tools read this document under every alias, and expect no envelope
        async with self._asking:
            if time.monotonic() > self._good_until or self._table is not self._gateway.table:
                await self._ask()
        return _revalidated(request, self._merged, "application/json", {})

    async def show_page(self, request: Request) -> Response:
        request.scope[ROUTE] = "/docs"
        return _revalidated(request, self._page, "text/html", SECURITY_HEADERS)

    async def show_file(self, request: Request) -> Response:
        """Serve a script or style of the page; its URL changes with its content, so it is cached forever."""
        request.scope[ROUTE] = "/docs/files"
        name, version = request.path_params["name"], request.path_params["version"]
        if name not in self._files or name == "docs.html":
            raise HTTPException(404)
        media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        # During an update, a page of one version may request its files from a gateway of another version.
        kept = "public, max-age=31536000, immutable" if version == self._version else "no-store"
        headers = {**SECURITY_HEADERS, "Cache-Control": kept}
        return Response(self._files[name], headers=headers, media_type=media_type)

    async def _ask(self) -> None:
        self._table = table = self._gateway.table
        services = table.services
        found = await asyncio.gather(*(self._document(name, origins) for name, origins in services.items()))
        self._documents |= {
            name: each for name, each in zip(services, found, strict=True) if each is not None
        }
        unavailable = [name for name in services if name not in self._documents]
        merged = merge(self._documents, table, unavailable)
        self._merged = json.dumps(merged, ensure_ascii=False, separators=(",", ":")).encode()
        kept = KEPT_INCOMPLETE_SECONDS if None in found else KEPT_SECONDS
        self._good_until = time.monotonic() + kept

    async def _document(self, name: str, origins: Sequence[Origin]) -> Document | None:
        """Return the document of the first target that responds."""
        for origin in origins:
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    document: Any = await self._gateway.client.get_json(f"{origin.url}/openapi.json")
            except (Problem, TimeoutError):
                continue
            if is_usable(document):
                return document
            log.warning("openapi_document_refused", service=name, url=origin.url)
        return None


def _revalidated(request: Request, body: bytes, media_type: str, headers: dict[str, str]) -> Response:
    """Return a response that a client may cache but has to revalidate."""
    etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    headers = {**headers, "Cache-Control": "no-cache", "ETag": etag}
    tags = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if etag in tags:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=media_type)
