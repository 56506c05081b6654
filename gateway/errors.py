"""Every refusal of the gateway itself, in one table: what went wrong, when, and whose fault it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.errors import FieldFault, Problem, no_such_address, problem_body

CLIENT, GATEWAY, UPSTREAM = "client", "gateway", "upstream"


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to fail; `source` is the party at fault and `phase` what was being done."""

    status: int
    code: str
    source: str
    phase: str
    words: str


MALFORMED = Kind(400, "bad_request", CLIENT, "request", "The request is not well-formed HTTP.")
BAD_PATH = Kind(
    400, "bad_path", CLIENT, "route", "The path must begin with / and not contain dot segments or fragments."
)
UNAUTHENTICATED = Kind(
    401,
    "unauthenticated",
    CLIENT,
    "auth",
    "A valid bearer token is needed. Sign in at /auth/login and send `Authorization: Bearer <token>`.",
)
METRICS_DENIED = Kind(
    401,
    "unauthenticated",
    CLIENT,
    "auth",
    "Send `Authorization: Bearer <METRICS_TOKEN>` to read the metrics.",
)
REVOKED = Kind(
    401, "invalid_token", CLIENT, "auth", "The bearer token was revoked before the response was complete."
)
INVALID_API_KEY = Kind(
    401,
    "invalid_api_key",
    CLIENT,
    "auth",
    "The API key is unknown, expired or revoked; ask the operator of this gateway for another.",
)
SESSION_OVER = Kind(
    401, "session_over", CLIENT, "auth", "This browser's session has ended; sign in at /auth/signin."
)
CROSS_SITE = Kind(
    403,
    "cross_site",
    CLIENT,
    "auth",
    "A page of another site may not use this browser's session; send a bearer token instead.",
)
FORBIDDEN = Kind(403, "forbidden", CLIENT, "auth", "Your account may not do this.")
INSUFFICIENT_SCOPE = Kind(
    403,
    "insufficient_scope",
    CLIENT,
    "auth",
    "The token lacks the scope that is named in `scope`.",
)
ORIGIN_DENIED = Kind(
    403,
    "origin_denied",
    CLIENT,
    "cors",
    "Pages of this origin may not call this path; see `cors.origins`.",
)
IP_DENIED = Kind(403, "ip_denied", CLIENT, "address", "This path is not open to your network.")
NOT_FOUND = Kind(404, "not_found", CLIENT, "route", no_such_address("/"))
METHOD_NOT_ALLOWED = Kind(
    405,
    "method_not_allowed",
    CLIENT,
    "route",
    "This path does not accept that method; the Allow header lists those it accepts.",
)
REQUEST_TIMEOUT = Kind(
    408, "request_timeout", CLIENT, "request_body", "The rest of the body did not arrive in time."
)
BODY_TOO_SLOW = Kind(
    408, "body_too_slow", CLIENT, "request_body", "The body arrives too slowly; send it at a higher rate."
)
HEAD_TIMEOUT = Kind(
    408, "request_timeout", CLIENT, "request", "The rest of the headers did not arrive in time."
)
BODY_TOO_LARGE = Kind(
    413, "body_too_large", CLIENT, "request_body", "The body is larger than this path accepts."
)
EXPECTATION_FAILED = Kind(
    417, "expectation_failed", CLIENT, "request", "The only supported expectation is `100-continue`."
)
RATE_LIMITED = Kind(
    429, "rate_limited", CLIENT, "limit", "Too many requests; try again after the time in Retry-After."
)
TOO_MANY_FAILURES = Kind(
    429,
    "too_many_failures",
    CLIENT,
    "auth",
    "Too many tokens or API keys from your network were invalid; try again after the time in Retry-After.",
)
TOO_MANY_AT_ONCE = Kind(
    429,
    "too_many_at_once",
    CLIENT,
    "limit",
    "Too many of your requests are in progress; try again when one of them has ended.",
)
INTERNAL = Kind(
    500,
    "internal_error",
    GATEWAY,
    "gateway",
    "Something went wrong here. Look it up in the log by request id.",
)
HEAD_TOO_LARGE = Kind(
    431, "head_too_large", CLIENT, "request", "The request line and the headers are too large together."
)
STOPPED = Kind(
    503,
    "stopping",
    GATEWAY,
    "drain",
    "The gateway is shutting down; try again in a moment.",
)
CROWDED = Kind(
    503,
    "too_many_connections",
    GATEWAY,
    "connection",
    "All connections of the gateway are in use; try again in a moment.",
)
TOO_MANY_CONNECTIONS = Kind(
    503,
    "too_many_connections",
    CLIENT,
    "connection",
    "Too many connections are open from this address; close some, or reuse them.",
)
UNREACHABLE = Kind(
    502,
    "upstream_unreachable",
    UPSTREAM,
    "connect",
    "The service does not accept connections; try again in a moment.",
)
RESET = Kind(
    502, "upstream_reset", UPSTREAM, "first_byte", "The service closed the connection without a response."
)
RESET_IN_BODY = Kind(
    502,
    "upstream_reset",
    UPSTREAM,
    "request_body",
    "The service closed the connection while the body was being sent.",
)
INVALID_ANSWER = Kind(
    502, "upstream_invalid", UPSTREAM, "first_byte", "The service's response is not valid HTTP."
)
ANSWER_TOO_LARGE = Kind(
    502,
    "answer_too_large",
    UPSTREAM,
    "response_body",
    "The response is too large for the envelope; use the path without the version prefix.",
)
CUT = Kind(
    502,
    "upstream_cut",
    UPSTREAM,
    "response_body",
    "The service closed the connection in the middle of its response.",
)
UNAVAILABLE = Kind(
    503, "unavailable", GATEWAY, "auth", "Tokens cannot be verified at the moment; try again in a moment."
)
OVERLOADED = Kind(
    503, "overloaded", GATEWAY, "connect", "All connections to the service are in use; try again in a moment."
)
OPEN = Kind(
    503,
    "upstream_open",
    UPSTREAM,
    "connect",
    "The service has failed several times in a row and gets no requests for the time in Retry-After.",
)
CONNECT_TIMEOUT = Kind(
    504, "upstream_timeout", UPSTREAM, "connect", "The service did not accept a connection in time."
)
SEND_TIMEOUT = Kind(
    504, "upstream_timeout", UPSTREAM, "request_body", "The service did not accept the body in time."
)
ANSWER_TIMEOUT = Kind(
    504, "upstream_timeout", UPSTREAM, "first_byte", "The service did not begin its response in time."
)
STALLED = Kind(
    504, "upstream_timeout", UPSTREAM, "response_body", "The service stalled in the middle of its response."
)
CLIENT_STALLED = Kind(
    408,
    "client_stalled",
    CLIENT,
    "response_body",
    "The client stopped reading in the middle of the response.",
)
CLIENT_GONE = Kind(
    499, "client_gone", CLIENT, "response", "The client closed the connection before the response."
)

TABLE = tuple(value for value in list(globals().values()) if isinstance(value, Kind))


class Refusal(Exception):
    """One request refused by the gateway."""

    def __init__(self, kind: Kind, detail: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(kind.code)
        self.kind = kind
        self.detail = detail or kind.words
        self.headers = headers or {}
        self.faults: Sequence[FieldFault] = ()
        self.extensions: Mapping[str, Any] = {}

    @classmethod
    def of(cls, problem: Problem, kind: Kind) -> "Refusal":
        """Convert a problem raised by `shared`; it takes its phase from `kind`."""
        named = Kind(problem.status, problem.code, kind.source, kind.phase, problem.detail)
        refusal = cls(named, headers=problem.headers)
        refusal.extensions = problem.extensions
        return refusal

    def body(self, request_id: str) -> bytes:
        kind = self.kind
        more = {"source": kind.source, "phase": kind.phase, **self.extensions}
        return problem_body(kind.status, kind.code, self.detail, request_id, self.faults, more)


def too_large(limit_bytes: int) -> Refusal:
    """Return a 413 with the message that services use, which names the limit."""
    refusal = Refusal(BODY_TOO_LARGE, f"The body may have at most {limit_bytes} bytes.")
    refusal.faults = [{"field": "body", "code": "too_large", "message": f"at most {limit_bytes} bytes"}]
    return refusal
