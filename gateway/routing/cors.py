"""CORS: which pages of other origins may call the API, and the headers for their browsers."""

import re
from dataclasses import dataclass, field
from functools import lru_cache

ORIGIN_BYTES_MAX = 300  # a host name has at most 253; longer values are not cached
DEVELOPMENT_ORIGINS = ("http://localhost:*", "http://127.0.0.1:*")
# Request headers that our services use beyond those every page may set, including resumable uploads.
ACCEPTED = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Range",
    "X-Request-ID",
    "Tus-Resumable",
    "Upload-Checksum",
    "Upload-Concat",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Offset",
)
EXPOSED = (
    b"X-Request-ID, RateLimit, RateLimit-Policy, Retry-After, Link, ETag, Location, Content-Location, "
    b"Content-Disposition, Content-Range, Tus-Resumable, Tus-Version, Tus-Extension, Tus-Max-Size, "
    b"Upload-Concat, Upload-Expires, Upload-Length, Upload-Metadata, Upload-Offset"
)


@dataclass(frozen=True, slots=True)
class Cors:
    """The `cors:` block; without `origins`, only pages of the same origin may call."""

    origins: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()  # empty: those of the route
    headers: tuple[str, ...] = ACCEPTED
    credentials: bool = False
    max_age_seconds: float = 600.0
    _vary: bytes = field(init=False, default=b"", repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.origins and "*" not in self.origins:
            # Even without Origin in the request: a cache could serve that response to a page of some origin.
            object.__setattr__(self, "_vary", b"vary: Origin\r\n")

    def answer_headers(self, origin: bytes | None) -> bytes:
        """Return the CORS header lines to add to a response."""
        if origin is None or not self.origins or len(origin) > ORIGIN_BYTES_MAX:
            return self._vary
        return _answer_headers(self, origin)

    def preflight_headers(self, origin: bytes, methods: str) -> bytes | None:
        """Return the header lines of a preflight response; None if the origin is not allowed."""
        if len(origin) > ORIGIN_BYTES_MAX or not _allows(self, origin):
            return None
        return b"%baccess-control-allow-methods: %b\r\naccess-control-allow-headers: %b\r\n%b%d\r\n" % (
            self.answer_headers(origin),
            (", ".join(self.methods) or methods).encode(),
            ", ".join(self.headers).encode(),
            b"access-control-max-age: ",
            int(self.max_age_seconds),
        )


@lru_cache(maxsize=1024)
def _answer_headers(cors: Cors, origin: bytes) -> bytes:
    if not _allows(cors, origin):
        return cors._vary  # noqa: SLF001 - its own module
    any_origin = "*" in cors.origins
    lines = [b"access-control-allow-origin: ", b"*" if any_origin else origin, b"\r\n"]
    if cors.credentials:
        lines.append(b"access-control-allow-credentials: true\r\n")
    lines += [b"access-control-expose-headers: ", EXPOSED, b"\r\n", cors._vary]  # noqa: SLF001
    return b"".join(lines)


@lru_cache(maxsize=1024)
def _allows(cors: Cors, origin: bytes) -> bool:
    return any(_pattern(allowed).fullmatch(origin) for allowed in cors.origins)


@lru_cache(maxsize=256)
def _pattern(allowed: str) -> re.Pattern[bytes]:
    """Compile an allowed origin: an exact one, `*` for any, or `scheme://host:*` for any port of a host."""
    if allowed == "*":
        return re.compile(rb".*")
    if allowed.endswith(":*"):
        return re.compile(re.escape(allowed[:-2].encode()) + rb"(:\d{1,5})?")
    return re.compile(re.escape(allowed.encode()))
