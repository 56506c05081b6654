"""Authentication, access rules, rate limits and CORS."""

import asyncio
import json
import re
import time
from collections import Counter
from typing import Any, ClassVar

import pytest

from gateway.errors import TABLE
from shared.testing import bearer, token
from tests.gateway.backends import Backend
from tests.gateway.conftest import Start
from tests.gateway.process import PROJECT
from tests.gateway.support import RunningGateway

PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


class TestToken:
    async def test_request_without_token_is_rejected_with_401(
        self, gateway: RunningGateway, backend: Backend
    ) -> None:
        answer = await gateway.request("GET", "/orders/7")
        assert (answer.status, answer.code) == (401, "unauthenticated")
        assert answer.value("www-authenticate") == "Bearer"
        assert (answer.json()["source"], answer.json()["phase"]) == ("client", "auth")
        assert not backend.received

    @pytest.mark.parametrize(
        "authorization",
        [
            "Basic YTpi",
            "Bearer",
            "Bearer a b",
            "Bearer nonsense",
            f"Bearer {'x' * 9000}",
            "Bearer " + token(exp=int(time.time()) - 60),
            "Bearer " + token(aud="elsewhere"),
            "Bearer " + token(iss="elsewhere"),
            "Bearer " + token(exp=None),
            "Bearer " + token()[:-4] + "AAAA",
        ],
    )
    async def test_invalid_token_is_rejected_with_401(
        self, gateway: RunningGateway, backend: Backend, authorization: str
    ) -> None:
        answer = await gateway.request("GET", "/orders", {"Authorization": authorization})
        assert (answer.status, answer.code) == (401, "invalid_token")
        assert answer.value("www-authenticate") == 'Bearer error="invalid_token"'
        assert not backend.received

    async def test_valid_token_is_forwarded(self, gateway: RunningGateway, backend: Backend) -> None:
        sent = bearer(token())
        wire = await gateway.connect()
        for _ in range(2):  # verified, then cached
            assert (await wire.request("GET", "/orders/7", sent)).status == 200
        assert [request.value("authorization") for request in backend.received] == [sent["Authorization"]] * 2

    async def test_body_waits_for_the_verification(self, gateway: RunningGateway) -> None:
        answer = await gateway.request("POST", "/orders", bearer(token()), b"x" * 50_000)
        assert answer.json()["body"] == "x" * 50_000

    async def test_optional_token_has_to_be_valid(self, start_gateway: Start, backend: Backend) -> None:
        gateway = await start_gateway(_routes(backend, "auth: optional"))
        assert (await gateway.request("GET", "/x")).status == 200
        assert (await gateway.request("GET", "/x", bearer(token()))).status == 200
        assert (await gateway.request("GET", "/x", bearer("nonsense"))).status == 401

    async def test_auth_none_ignores_tokens(self, start_gateway: Start, backend: Backend) -> None:
        gateway = await start_gateway(_routes(backend, "auth: none"))
        assert (await gateway.request("GET", "/x", bearer("nonsense"))).status == 200

    async def test_unreachable_keys_cause_a_503(self, start_gateway: Start, backend: Backend) -> None:
        gateway = await start_gateway(
            _routes(backend), jwt_secret=None, jwks_url="http://127.0.0.1:1/jwks.json"
        )
        answer = await gateway.request("GET", "/x", bearer(_rsa_headed_token()))
        assert (answer.status, answer.code, answer.json()["source"]) == (503, "unavailable", "gateway")
        assert answer.value("retry-after") == "1"


class TestRolesAndScopes:
    async def test_caller_without_the_role_is_rejected_with_403(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        gateway = await start_gateway(_routes(backend, "roles: [admin, auditor]"))
        assert (await gateway.request("GET", "/x")).status == 401
        refused = await gateway.request("GET", "/x", bearer(token(role="user")))
        assert (refused.status, refused.code) == (403, "forbidden")
        for role in ("admin", "auditor"):
            assert (await gateway.request("GET", "/x", bearer(token(role=role)))).status == 200

    async def test_caller_without_all_scopes_is_rejected_with_403(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        gateway = await start_gateway(_routes(backend, "scopes: [read, write]"))
        refused = await gateway.request("GET", "/x", bearer(token(scope="read")))
        assert (refused.status, refused.code) == (403, "insufficient_scope")
        assert refused.json()["scope"] == "write"
        assert refused.json()["detail"] == "The token lacks the scope write."
        assert refused.value("www-authenticate") == 'Bearer error="insufficient_scope", scope="write"'
        assert (await gateway.request("GET", "/x", bearer(token(scope="write read")))).status == 200

    @pytest.mark.parametrize(
        ("demanded", "claims", "missing"),
        [
            ("orders:read", {}, None),
            ("read write admin:orders", {}, None),
            ("partner", {}, "partner"),
            ("orders:read orders:refund", {}, "orders:refund"),
            ("orders:read", {"scope": "orders:read"}, None),
            ("orders:read", {"scope": "read"}, None),
            ("orders:read read admin:orders", {"scope": "full_access", "client_id": "c"}, None),
            ("orders:read", {"scope": "orders:write"}, "orders:read"),
            ("orders:read", {"client_id": "c"}, "orders:read"),
            ("admin:orders", {"scope": "read write", "client_id": "c"}, "admin:orders"),
            ("orders:refund", {"scope": "full_access"}, "orders:refund"),
            ("orders:refund", {"scope": "orders:refund"}, None),
        ],
    )
    async def test_scope_of_a_route_accepts_tokens_that_name_or_cover_it(
        self,
        start_gateway: Start,
        backend: Backend,
        demanded: str,
        claims: dict[str, Any],
        missing: str | None,
    ) -> None:
        gateway = await start_gateway(_routes(backend, f"scopes: {json.dumps(demanded.split())}"))
        answer = await gateway.request("GET", "/x", bearer(token(**claims)))

        assert answer.status == (403 if missing else 200)
        shown = f'Bearer error="insufficient_scope", scope="{missing}"' if missing else None
        assert answer.value("www-authenticate") == shown


class TestClaims:
    CONDITIONS = "claims: {email_verified: true, tenant: [a, 7], client_id: billing}"
    GOOD: ClassVar[dict[str, Any]] = {"email_verified": True, "tenant": "a", "client_id": "billing"}

    @pytest.mark.parametrize(
        "claims", [{}, {"tenant": 7}, {"tenant": ["x", "a"]}, {"tenant": [7], "other": {"deep": [1]}}]
    )
    async def test_token_with_the_claims_passes(
        self, start_gateway: Start, backend: Backend, claims: dict[str, Any]
    ) -> None:
        gateway = await start_gateway(_routes(backend, self.CONDITIONS))
        assert (await gateway.request("GET", "/x", bearer(token(**{**self.GOOD, **claims})))).status == 200

    @pytest.mark.parametrize(
        ("claims", "missing"),
        [
            ({"email_verified": False}, "email_verified is true"),
            ({"email_verified": 1}, "email_verified is true"),
            ({"email_verified": "true"}, "email_verified is true"),
            ({"email_verified": None}, "email_verified is true"),
            ({"tenant": "7"}, "tenant is a or 7"),
            ({"tenant": {"a": 7}}, "tenant is a or 7"),
            ({"tenant": []}, "tenant is a or 7"),
            ({"client_id": "shop"}, "client_id is billing"),
        ],
    )
    async def test_token_without_a_claim_is_rejected_with_403_that_names_the_claim(
        self, start_gateway: Start, backend: Backend, claims: dict[str, Any], missing: str
    ) -> None:
        gateway = await start_gateway(_routes(backend, self.CONDITIONS))
        answer = await gateway.request("GET", "/x", bearer(token(**{**self.GOOD, **claims})))
        assert (answer.status, answer.code) == (403, "forbidden")
        assert answer.json()["detail"] == f"This needs a token in which {missing}."
        assert not backend.received

    async def test_claims_without_a_token_are_rejected_with_401(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        gateway = await start_gateway(_routes(backend, f"auth: optional\n    {self.CONDITIONS}"))
        assert (await gateway.request("GET", "/x")).status == 401


class TestMethodAndPath:
    async def test_method_without_a_route_is_rejected_with_405_and_allow(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        gateway = await start_gateway(_routes(backend, 'methods: ["GET", "POST"]'))
        answer = await gateway.request("DELETE", "/x")
        assert (answer.status, answer.code) == (405, "method_not_allowed")
        assert answer.value("allow") == "GET, HEAD, POST"
        assert (await gateway.request("OPTIONS", "/x")).status == 405

    async def test_path_without_a_route_is_404(self, gateway: RunningGateway) -> None:
        for path in ("/", "/opened", "/open-x", "/ope", "/other/open"):
            answer = await gateway.request("GET", path)
            assert answer.status == (200 if path == "/" else 404), path
        assert (await gateway.request("GET", "/opened")).code == "not_found"

    @pytest.mark.parametrize(
        "path",
        [
            "/open/../x",
            "/open/./x",
            "/open/..",
            "/open/%2e%2e/x",
            "/open/.%2E/x",
            "/open\\..\\x",
            "/open/%252e%252e/x",
        ],
    )
    async def test_dot_segments_are_rejected_with_400(
        self, gateway: RunningGateway, backend: Backend, path: str
    ) -> None:
        answer = await gateway.request("GET", path)
        assert (answer.status, answer.code) == (400, "bad_path")
        assert not backend.received

    async def test_sign_in_endpoints_are_public_by_default(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        gateway = await start_gateway(f"""
routes:
  - {{path: /auth, backend: "{backend.url}", methods: ["GET", "POST"]}}
""")
        for name in ("register", "login", "refresh", "logout"):
            assert (await gateway.request("POST", f"/auth/{name}")).status == 200
            assert (await gateway.request("GET", f"/auth/{name}")).status == 401
            assert (await gateway.request("POST", f"/auth/{name}/x")).status == 401
        assert (await gateway.request("GET", "/.well-known/jwks.json")).status == 200
        assert (await gateway.request("POST", "/.well-known/jwks.json")).status == 405
        assert (await gateway.request("GET", "/auth/me")).status == 401


class TestRateLimit:
    async def test_every_response_reports_the_limit(self, start_gateway: Start, backend: Backend) -> None:
        gateway = await start_gateway(_routes(backend, "auth: none\n    rate_limit: {rate: 3/m, burst: 3}"))
        wire = await gateway.connect()
        answers = [await wire.request("GET", "/x") for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        assert [answer.value("ratelimit-policy") for answer in answers] == ['"x";q=3;w=60'] * 4
        assert [(answer.value("ratelimit") or "").split(";t=")[0] for answer in answers] == [
            '"x";r=2',
            '"x";r=1',
            '"x";r=0',
            '"x";r=0',
        ]
        assert answers[3].code == "rate_limited"
        assert 15 <= int(answers[3].value("retry-after") or 0) <= 20
        assert len(backend.received) == 3

    async def test_each_user_has_its_own_bucket(self, start_gateway: Start, backend: Backend) -> None:
        gateway = await start_gateway(_routes(backend, "rate_limit: {rate: 1/m, burst: 1}"))
        first, second = bearer(token("one")), bearer(token("two"))
        statuses = [
            (await gateway.request("GET", "/x", who)).status for who in (first, first, second, second)
        ]
        assert statuses == [200, 429, 200, 429]

    @pytest.mark.parametrize("key", ["user", "ip", "client", "route", "user+ip"])
    async def test_concurrent_requests_get_exactly_the_burst(
        self, start_gateway: Start, backend: Backend, key: str
    ) -> None:
        gateway = await start_gateway(_routes(backend, f"rate_limit: {{rate: 1/h, burst: 11, key: {key}}}"))
        who = bearer(token("one", client_id="shop"))
        answers = await asyncio.gather(*(gateway.request("GET", "/x", who) for _ in range(40)))
        assert Counter(answer.status for answer in answers) == {200: 11, 429: 29}
        assert len(backend.received) == 11

    async def test_several_limits_all_apply_and_are_all_reported(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        several = "[{rate: 9/m, burst: 9}, {rate: 3/h, burst: 2, key: route}]"
        gateway = await start_gateway(_routes(backend, f"rate_limit: {several}"))
        first, second = bearer(token("one")), bearer(token("two"))
        answers = [await gateway.request("GET", "/x", who) for who in (first, first, second)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        policies = '"x.user";q=9;w=60, "x.route";q=2;w=2400'
        assert [answer.value("ratelimit-policy") for answer in answers] == [policies] * 3
        left = [re.sub(";t=[0-9]+", "", answer.value("ratelimit") or "") for answer in answers]
        assert left == ['"x.user";r=8, "x.route";r=1', '"x.user";r=7, "x.route";r=0',
                        '"x.user";r=9, "x.route";r=0']  # fmt: skip
        assert 1190 <= int(answers[2].value("retry-after") or 0) <= 1200
        assert len(backend.received) == 2

    async def test_addresses_behind_a_trusted_proxy_are_limited_by_network(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        routes = _routes(backend, "auth: none\n    rate_limit: {rate: 1/m, burst: 1, key: ip}")
        gateway = await start_gateway(routes, trusted_proxies="127.0.0.1")

        async def status(forwarded_for: str) -> int:
            return (await gateway.request("GET", "/x", {"X-Forwarded-For": forwarded_for})).status

        assert await status("9.9.9.9") == 200
        assert await status("1.2.3.4, 9.9.9.9") == 429
        assert await status("2001:db8::1") == 200
        assert await status("2001:db8::2") == 429
        assert await status("nonsense") == 200


class TestCors:
    async def test_development_lets_local_pages_in(self, gateway: RunningGateway) -> None:
        for origin in ("http://localhost:5173", "http://127.0.0.1:3000", "http://localhost"):
            answer = await gateway.request("GET", "/open", {"Origin": origin})
            assert answer.value("access-control-allow-origin") == origin
            assert answer.value("access-control-allow-credentials") is None
            assert "RateLimit" in (answer.value("access-control-expose-headers") or "")
            assert "Origin" in answer.values("vary")
        for path in ("/orders", "/health/live", "/nowhere"):
            answer = await gateway.request("GET", path, {"Origin": "http://localhost:5173"})
            assert answer.value("access-control-allow-origin") == "http://localhost:5173", path

    @pytest.mark.parametrize(
        "origin",
        ["https://evil.example", "http://localhost.evil.example", "http://localhost:5173.evil", "null"],
    )
    async def test_foreign_origins_are_refused(self, gateway: RunningGateway, origin: str) -> None:
        answer = await gateway.request("GET", "/open", {"Origin": origin})
        assert answer.status == 200
        assert answer.value("access-control-allow-origin") is None
        refused = await gateway.request("OPTIONS", "/open", {"Origin": origin, **PREFLIGHT})
        assert (refused.status, refused.code) == (403, "origin_denied")

    async def test_preflight_needs_no_token(self, gateway: RunningGateway, backend: Backend) -> None:
        wire = await gateway.connect()
        answer = await wire.request("OPTIONS", "/orders/7", {"Origin": "http://localhost:5173", **PREFLIGHT})
        assert (answer.status, answer.value("access-control-max-age")) == (204, "600")
        assert "POST" in (answer.value("access-control-allow-methods") or "")
        assert "Authorization" in (answer.value("access-control-allow-headers") or "")
        assert not backend.received
        assert (await wire.request("GET", "/open")).status == 200

    async def test_pages_may_send_and_read_the_headers_of_resumable_uploads(
        self, gateway: RunningGateway
    ) -> None:
        origin = {"Origin": "http://localhost:5173"}
        asked = await gateway.request("OPTIONS", "/open", origin | PREFLIGHT)
        told = await gateway.request("GET", "/open", origin)
        sent = ("Tus-Resumable", "Upload-Length", "Upload-Offset", "Upload-Metadata", "Upload-Checksum")
        read = (
            "Location",
            "Upload-Offset",
            "Upload-Length",
            "Upload-Expires",
            "Tus-Version",
            "Tus-Extension",
        )
        assert set(sent) <= set((asked.value("access-control-allow-headers") or "").split(", "))
        assert set(read) <= set((told.value("access-control-expose-headers") or "").split(", "))

    async def test_preflight_during_shutdown_closes_the_connection(
        self, gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wire = await gateway.connect()
        monkeypatch.setattr(gateway.server.server_state, "draining", True)
        answer = await wire.request("OPTIONS", "/open", {"Origin": "http://localhost:5173", **PREFLIGHT})
        monkeypatch.undo()
        assert (answer.status, answer.value("connection")) == (204, "close")
        assert await wire.is_closed()

    async def test_preflight_of_the_gateways_own_pages_is_accepted(self, gateway: RunningGateway) -> None:
        answer = await gateway.request("OPTIONS", "/health", {"Origin": "http://localhost:5173", **PREFLIGHT})
        assert (answer.status, answer.value("access-control-allow-methods")) == (204, "GET, HEAD")
        assert answer.value("x-request-id")
        refused = await gateway.request("OPTIONS", "/health", {"Origin": "https://evil.example", **PREFLIGHT})
        assert (refused.status, refused.code) == (403, "origin_denied")

    async def test_production_allows_no_origins_by_default(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        gateway = await start_gateway(_routes(backend, "auth: none"), environment="production")
        answer = await gateway.request("GET", "/x", {"Origin": "http://localhost:5173"})
        assert answer.value("access-control-allow-origin") is None
        assert answer.value("vary") is None

    async def test_route_overrides_cors(self, start_gateway: Start, backend: Backend) -> None:
        cors = 'cors: {origins: ["https://app.example"], credentials: true, max_age: 10s}'
        gateway = await start_gateway(_routes(backend, cors))
        answer = await gateway.request("OPTIONS", "/x", {"Origin": "https://app.example", **PREFLIGHT})
        assert answer.value("access-control-allow-credentials") == "true"
        assert answer.value("access-control-allow-origin") == "https://app.example"
        assert answer.value("access-control-max-age") == "10"


def test_every_refusal_is_documented() -> None:
    page = (PROJECT / "docs/refusals.md").read_text()
    for kind in TABLE:
        row = f"| {kind.status} | `{kind.code}` | {kind.source} | {kind.phase} | {kind.words} |"
        assert row in page, f"docs/refusals.md lacks: {row}"


def _routes(backend: Backend, more: str = "") -> str:
    return f"routes:\n  - path: /x\n    backend: {backend.url}\n    {more}\n"


def _rsa_headed_token() -> str:
    import base64
    import json

    parts: list[dict[str, str]] = [{"alg": "RS256", "kid": "k1", "typ": "at+jwt"}, {"sub": "1"}, {}]
    return ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts
    )
