"""Headers that a route sets, adds and removes; security headers; addresses that it lets in."""

from ipaddress import ip_network

import pytest

from gateway.config.description import differences, table_shown
from gateway.config.routes_file import RoutesFileError, parse
from gateway.forwarding.explain import explain
from gateway.routing.addresses import AddressRule
from gateway.routing.table import RouteTable
from shared.testing import bearer, token
from tests.gateway.backends import Backend, Conversation
from tests.gateway.conftest import Start, StartBackend
from tests.gateway.support import RunningGateway

CHANGES = """headers:
      request:
        set: {X-Tenant: acme, X-Two: [a, b]}
        add: {Accept-Language: de}
        remove: [Cookie, User-Agent, Authorization]
      response:
        set: {Cache-Control: no-store}
        add: {Link: "</terms>; rel=terms"}
        remove: [Server, X-Powered-By]"""
SPOKEN = ("Server: old", "X-Powered-By: PHP", "Cache-Control: public", "Set-Cookie: a=1", "Set-Cookie: b=2")


async def speaks(conversation: Conversation) -> None:
    while await conversation.request():
        await conversation.answer(b'{"a": 1}', "200 OK", *SPOKEN, "Content-Type: application/json")


class TestHeaders:
    async def test_request_headers_are_changed_for_the_backend(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        gateway = await start_gateway(_routes(backend, CHANGES))
        sent = {
            "X-Tenant": "forged",
            "x-two": "c",
            "Accept-Language": "en",
            "Cookie": "a=b",
            "User-Agent": "me",
        }
        answer = await gateway.request("GET", "/x", {**sent, "X-Else": "1", **bearer(token())})
        assert answer.status == 200
        (received,) = backend.received
        assert received.values("x-tenant") == ["acme"]
        assert received.values("x-two") == ["a", "b"]
        assert received.values("accept-language") == ["en", "de"]
        assert received.value("x-else") == "1"
        for name in ("cookie", "user-agent", "authorization"):
            assert received.value(name) is None

    async def test_response_headers_are_changed_for_the_client(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        gateway = await start_gateway(_routes(await start_backend(speaks), f"auth: none\n    {CHANGES}"))
        answer = await gateway.request("GET", "/x")
        assert answer.values("cache-control") == ["no-store"]
        assert answer.values("link") == ["</terms>; rel=terms"]
        assert (answer.value("server"), answer.value("x-powered-by")) == (None, None)
        assert answer.values("set-cookie") == ["a=1", "b=2"]
        assert answer.json() == {"a": 1}

    async def test_response_headers_are_changed_in_an_envelope_as_well(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        routes = _routes(await start_backend(speaks), f"auth: none\n    {CHANGES}")
        gateway = await start_gateway(f"{routes}\naliases: [{{path: /api/v1, to: /, envelope: v1}}]")
        answer = await gateway.request("GET", "/api/v1/x")
        assert answer.json()["data"] == {"a": 1}
        assert answer.values("cache-control") == ["no-store"]
        assert answer.value("server") is None

    async def test_route_overrides_the_defaults(self, start_gateway: Start, backend: Backend) -> None:
        gateway = await start_gateway(f"""
defaults: {{auth: none, headers: {{request: {{set: {{X-A: "1"}}, remove: [x-b]}}}}}}
routes:
  - {{path: /usual, backend: "{backend.url}"}}
  - {{path: /own, backend: "{backend.url}", headers: {{request: {{set: {{X-C: "3"}}}}}}}}
""")
        for path in ("/usual", "/own"):
            await gateway.request("GET", path, {"X-B": "2"})
        told = [{name: each.value(name) for name in ("x-a", "x-b", "x-c")} for each in backend.received]
        assert told == [{"x-a": "1", "x-b": None, "x-c": None}, {"x-a": None, "x-b": None, "x-c": "3"}]

    @pytest.mark.parametrize(
        ("block", "fault"),
        [
            ("{request: {set: {Host: a}}}", "headers.request.set.Host: 'Host' is set by the gateway"),
            ("{request: {set: {X-Forwarded-For: a}}}", "'X-Forwarded-For' is set by the gateway"),
            ("{request: {add: {X-User-Id: a}}}", "'X-User-Id' is set by the gateway"),
            ("{request: {remove: [Content-Length]}}", "headers.request.remove[0]: 'Content-Length' is"),
            ("{request: {set: {Connection: close}}}", "'Connection' is set by the gateway"),
            ("{request: {set: {x_user_id: a}}}", "'x_user_id' is not a valid header name"),
            ("{request: {set: {Authorization: Basic x}}}", "'Authorization' belongs to the caller"),
            ("{response: {set: {Transfer-Encoding: a}}}", "'Transfer-Encoding' is set by the gateway"),
            ("{response: {remove: [X-Request-ID]}}", "'X-Request-ID' is set by the gateway"),
            ("{response: {set: {Access-Control-Allow-Origin: a}}}", "'Access-Control-Allow-Origin' is"),
            (r'{response: {set: {X-A: "a\r\nX-B: b"}}}', "set.X-A: must be printable ASCII on one line"),
            (r'{response: {set: {"X-A\r\nX-B": b}}}', "is not a valid header name"),
            ('{response: {set: {X-A: ""}}}', "set.X-A: must be printable ASCII"),
            (
                "{response: {set: {X-A: a}, remove: [x-a]}}",
                "response: sets 'x-a' and also adds or removes it",
            ),
            ("{response: {set: {X-A: a, x-a: b}}}", "response.set.x-a: given twice"),
            ("{response: {drop: [a]}}", "headers.response.drop: unknown key"),
            ("{response: {set: [a]}}", "headers.response.set: must be a mapping"),
        ],
    )
    def test_invalid_header_changes_are_refused(self, block: str, fault: str) -> None:
        (line,) = _faults(f"headers: {block}")
        assert line.startswith("routes.yaml:5:")
        assert fault in line

    def test_values_of_secret_headers_are_masked(self) -> None:
        table = _table("headers: {request: {set: {X-Api-Key: hidden, X-Open: told}}}")
        assert "hidden" not in str(table_shown(table))
        assert "x-open: told" in str(table_shown(table))
        lines = [line.words for line in explain(table, "GET", "/x", ["Authorization: Bearer x"])]
        assert "x-api-key: ***" in lines
        assert not any("hidden" in line for line in lines)


class TestSecurityHeaders:
    async def test_preset_api_adds_its_security_headers(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        gateway = await start_gateway(
            _routes(await start_backend(speaks), "auth: none\n    security_headers: api")
        )
        answer = await gateway.request("GET", "/x")
        assert answer.values("x-content-type-options") == ["nosniff"]
        assert answer.value("content-security-policy") == "default-src 'none'; frame-ancestors 'none'"
        assert answer.value("x-frame-options") == "DENY"
        assert answer.value("referrer-policy") == "no-referrer"
        assert answer.value("cross-origin-resource-policy") == "same-origin"
        assert answer.value("permissions-policy")
        assert answer.value("strict-transport-security") is None, "the request used plain HTTP"

    async def test_the_gateways_own_responses_get_the_headers_of_the_route(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        gateway = await start_gateway(_routes(backend, "security_headers: api"))
        answer = await gateway.request("GET", "/x")
        assert answer.status == 401
        assert answer.values("x-content-type-options") == ["nosniff"]
        assert answer.value("x-frame-options") == "DENY"

    async def test_hsts_is_sent_over_https_only(self, start_gateway: Start, backend: Backend) -> None:
        routes = _routes(backend, "auth: none\n    security_headers: site")
        trusting = await start_gateway(routes, trusted_proxies="127.0.0.1/32")
        answer = await trusting.request("GET", "/x", {"X-Forwarded-Proto": "https"})
        assert answer.value("strict-transport-security") == "max-age=31536000"
        for proto in ("http", "https, http"):
            answer = await trusting.request("GET", "/x", {"X-Forwarded-Proto": proto})
            assert answer.value("strict-transport-security") is None

    async def test_hsts_requires_a_trusted_proxy(self, start_gateway: Start, backend: Backend) -> None:
        gateway = await start_gateway(_routes(backend, "auth: none\n    security_headers: site"))
        answer = await gateway.request("GET", "/x", {"X-Forwarded-Proto": "https"})
        assert answer.value("strict-transport-security") is None

    async def test_security_headers_of_the_service_take_precedence(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        async def embeds(conversation: Conversation) -> None:
            while await conversation.request():
                await conversation.answer(
                    b"", "200 OK", "X-Frame-Options: SAMEORIGIN", "Referrer-Policy: origin"
                )

        more = "auth: none\n    security_headers: api\n    headers: {response: {remove: [Referrer-Policy]}}"
        gateway = await start_gateway(_routes(await start_backend(embeds), more))
        answer = await gateway.request("GET", "/x")
        assert answer.values("x-frame-options") == ["SAMEORIGIN"]
        assert answer.values("referrer-policy") == ["no-referrer"]

    async def test_single_security_headers_are_replaced_or_omitted(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        block = '{preset: api, x_frame_options: off, content_security_policy: "default-src https:"}'
        gateway = await start_gateway(_routes(backend, f"auth: none\n    security_headers: {block}"))
        answer = await gateway.request("GET", "/x")
        assert answer.value("x-frame-options") is None
        assert answer.value("content-security-policy") == "default-src https:"
        assert answer.value("referrer-policy") == "no-referrer"

    def test_off_turns_the_defaults_off(self) -> None:
        table = parse(
            "defaults: {security_headers: api}\n"
            "routes:\n  - {path: /a, backend: 'http://a:1', security_headers: off}\n"
            "  - {path: /b, backend: 'http://a:1'}",
            "routes.yaml",
            development=False,
        )
        assert [bool(route.policy.security_headers.lines) for route in table.routes] == [False, True]

    @pytest.mark.parametrize(
        ("block", "fault"),
        [
            ("apis", "must be one of api, site, off, not 'apis'; did you mean 'api'?"),
            ("{presets: api}", "security_headers.presets: unknown key; did you mean 'preset'?"),
            (r'{x_frame_options: "a\nb"}', "security_headers.x_frame_options: must be printable ASCII"),
        ],
    )
    def test_invalid_security_headers_are_refused(self, block: str, fault: str) -> None:
        (line,) = _faults(f"security_headers: {block}")
        assert fault in line

    async def test_own_responses_always_have_nosniff(self, gateway: RunningGateway) -> None:
        for path in ("/health", "/metrics", "/docs", "/openapi.json", "/nowhere", "/orders", "/open/../x"):
            assert (await gateway.request("GET", path)).values("x-content-type-options") == ["nosniff"], path


class TestAddresses:
    async def test_addresses_are_allowed_and_denied_by_network(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        block = "auth: none\n    ip: {allow: [10.0.0.0/8, 2001:db8::/32], deny: [10.6.6.6]}"
        gateway = await start_gateway(_routes(backend, block), trusted_proxies="127.0.0.1/32")
        for forwarded, status in {
            "10.1.2.3": 200,
            "::ffff:10.1.2.3": 200,
            "2001:db8::7": 200,
            "10.6.6.6": 403,
            "::ffff:10.6.6.6": 403,
            "11.1.2.3": 403,
            "10.1.2.3, 11.1.2.3": 403,
            "11.1.2.3, 10.1.2.3": 200,
        }.items():
            answer = await gateway.request("GET", "/x", {"X-Forwarded-For": forwarded})
            assert answer.status == status, forwarded
            if status == 403:
                assert (answer.code, answer.json()["phase"]) == ("ip_denied", "address")

    async def test_addresses_are_checked_before_everything_else(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        gateway = await start_gateway(_routes(backend, "ip: {allow: [10.0.0.0/8]}"))
        forged = {"X-Forwarded-For": "10.0.0.1"}
        for method in ("GET", "PATCH", "OPTIONS"):
            preflight = {"Origin": "http://localhost:1", "Access-Control-Request-Method": "GET"}
            answer = await gateway.request(method, "/x", {**forged, **preflight})
            assert (answer.status, answer.code) == (403, "ip_denied"), "there is no trusted proxy here"
        assert not backend.received

    def test_deny_alone_lets_everyone_else_in(self) -> None:
        rule = AddressRule(deny=(ip_network("10.0.0.0/8"),))
        assert [rule.lets_in(each) for each in ("10.0.0.1", "11.0.0.1", "::1", "nobody")] == [
            *(False, True, True, False)
        ]

    def test_explain_shows_the_address_rules(self) -> None:
        table = _table("ip: {allow: [10.0.0.0/8], deny: [10.6.6.6]}\n    auth: none")
        lines = {line.name: line.words for line in explain(table, "GET", "/x", [], "10.0.0.1")}
        assert (lines["ip"], lines["result"][:9]) == ("deny 10.6.6.6/32", "forwarded")
        refused = {line.name: line.words for line in explain(table, "GET", "/x", [])}
        assert refused["result"].startswith("403 ip_denied (client, address)")

    @pytest.mark.parametrize(
        ("block", "fault"),
        [
            (
                "{allow: [10.1.0.0/8]}",
                "such as 10.0.0.0/8, not '10.1.0.0/8'; did you mean '10.0.0.0/8'?",
            ),
            ("{deny: [localhost]}", "ip.deny[0]: must be an address or a network"),
            ('{deny: ["::ffff:10.0.0.1"]}', "contains IPv4 addresses; write it as an IPv4 network"),
            ("{only: [10.0.0.1]}", "ip.only: unknown key"),
            ("10.0.0.1", "ip: must be a mapping with some of: allow, deny"),
        ],
    )
    def test_invalid_address_rules_are_refused(self, block: str, fault: str) -> None:
        (line,) = _faults(f"ip: {block}")
        assert fault in line


def test_changes_are_listed_by_diff() -> None:
    lines = differences(
        _table("auth: none"),
        _table(
            "auth: none\n    ip: {deny: [10.6.6.6]}\n    headers: {response: {remove: [Server]}}\n"
            "    security_headers: {referrer_policy: origin}"
        ),
    )
    assert lines == [
        "~ route x  headers.response.remove: none → server",
        "~ route x  ip.deny: none → 10.6.6.6/32",
        "~ route x  security_headers: none → referrer-policy: origin",
    ]


def _table(more: str) -> RouteTable:
    return parse(_text("http://a:1", more), "routes.yaml", development=False)


def _faults(more: str) -> tuple[str, ...]:
    with pytest.raises(RoutesFileError) as error:
        _table(more)
    return error.value.faults


def _routes(backend: Backend, more: str) -> str:
    return _text(backend.url, more)


def _text(url: str, more: str) -> str:
    return f"\nroutes:\n  - path: /x\n    backend: {url}\n    {more}\n"
