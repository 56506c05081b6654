"""What routes.yaml may contain, and how faults are reported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.config.routes_file import RoutesFileError, load, parse
from gateway.routing.table import RateLimit, RouteTable, Timeouts
from gateway.routing.upstreams import Origin
from tests.support import free_port

PROJECT = Path(__file__).parents[2]

SEED = """
routes:
  - path: /auth
    backend: http://localhost:8083
    methods: ["GET", "POST"]
  - path: /users
    backend: http://localhost:8081
    methods: ["GET", "POST", "PUT", "DELETE"]
  - path: /orders
    backend: http://localhost:8082
    methods: ["GET", "POST", "PUT", "DELETE"]
"""


def read(text: str, *, development: bool = True) -> RouteTable:
    return parse(text, "routes.yaml", development=development)


def faults(text: str) -> list[str]:
    with pytest.raises(RoutesFileError) as error:
        read(text)
    return str(error.value).splitlines()


def test_minimal_file_of_three_services_works() -> None:
    table = read(SEED)
    orders = table.match(b"/orders/7").route
    assert orders is not None
    assert (orders.name, orders.upstream.origins, orders.policy.auth) == (
        "orders",
        (Origin("localhost", 8082),),
        "required",
    )
    assert orders.policy.methods == {b"GET", b"POST", b"PUT", b"DELETE"}
    assert list(table.services) == ["auth", "users", "orders"]
    well_known = table.match(b"/.well-known/jwks.json").route
    assert well_known is not None
    assert (well_known.upstream.origins[0].port, well_known.policy.auth) == (8083, "none")


def test_routes_yaml_of_the_project_covers_services_and_aliases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERS_URL", "http://orders:9000")
    table = load(PROJECT / "routes.yaml", development=True)
    orders = table.match(b"/api/v1/orders").route
    assert orders is not None
    assert orders.upstream.origins == (Origin("orders", 9000),)
    for target, place in {
        "/api/users/register": "/auth/register",
        "/api/users/login": "/auth/login",
        "/api/v1/users/register": "/classic/users/register",
        "/api/v1/users/logout": "/classic/users/logout",
        "/api/v1/users/me/preferences": "/users/me/preferences",
        "/api/v1/oauth/token": "/oauth2/token",
        "/api/v1/notifications/7/read": "/classic/notifications/7/read",
        "/api/v1/notifications/unread/count": "/notifications/unread/count",
        "/api/v1/auth/login": "/auth/login",
        "/api/v1/auth/refresh": "/auth/refresh",
        "/api/v1/me": "/users/me",
        "/api/users/7": "/users/7",
    }.items():
        match = table.match(target.encode())
        assert match.target.decode() == place
        assert match.route is not None
        assert match.alias is not None
        assert match.alias.envelope is target.startswith("/api/v1")
    for target, place in {
        "/api/v1/workspaces/ws-1/metrics": "/classic/workspaces/ws-1/metrics",
        "/api/v1/dashboard": "/classic/dashboard",
        "/api/v1/admin/aws-accounts/7/test": "/classic/admin/aws-accounts/7/test",
        "/api/v1/admin/users/7": "/classic/admin/users/7",
    }.items():
        match = table.match(target.encode())
        assert match.target.decode() == place
        assert match.alias is not None
        assert not match.alias.envelope
    login = table.match(b"/auth/login").route
    assert login is not None
    assert [(limit.key, limit.burst) for limit in login.policy.rate_limits] == [("ip", 100)]


def test_every_key_of_a_route_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ABSENT", raising=False)
    table = read("""
defaults: {timeout: {idle: 5m}, rate_limit: {rate: 10/s, key: ip}}
cors: {origins: ["https://a.example"], max_age: 1h}
routes:
  - path: /x
    backend: http://[::1]:${ABSENT:-9001}
    name: the-x
    methods: [GET]
    auth: optional
    roles: [admin]
    scopes: [read]
    rate_limit: {rate: 30/5m, burst: 7}
    timeout: {connect: 250ms, first_byte: 1m}
    body_max: 64KiB
    cors: {credentials: true}
  - path: /y
    backend: http://y
""")
    x, y = table.routes
    assert (x.name, x.upstream.origins) == ("the-x", (Origin("::1", 9001),))
    assert x.policy.rate_limits == (RateLimit(30, 300.0, 7, "ip"),)
    assert x.policy.timeouts == Timeouts(0.25, 60.0, 300.0)
    assert (x.policy.body_max, x.policy.roles, x.policy.scopes) == (
        65536,
        frozenset({"admin"}),
        frozenset({"read"}),
    )
    assert (x.policy.cors.origins, x.policy.cors.credentials) == (("https://a.example",), True)
    assert y.policy.rate_limits == (RateLimit(10, 1.0, 10, "ip"),)
    assert y.policy.auth == "required"


def test_all_faults_are_reported_at_once_with_their_positions() -> None:
    told = faults("""routes:
  - path: /a/
    backend: localhost:8082
    metods: ["GET"]
  - path: /b
    backend: http://b
    methods: ["GET", "FETCH"]
    auth: maybe
    rate_limit: {rate: fast, burst: -1}
    timeout: {conect: 1s, idle: 5}
    body_max: ten
  - path: /b
    backend: http://b/path
  - backend: ${NOT_SET_ANYWHERE}
  - path: /health/x
    backend: http://c
  - path: /internal/x
    backend: http://c
  - just text
aliases:
  - {path: /old, to: /nowhere}
cors: {origins: ["*"], credentials: true}
extra: 1
""")
    expected = [
        "routes.yaml:2:11 routes[0].path: must be a path such as /orders or /users/{id}, without",
        "routes.yaml:3:14 routes[0].backend: must be",
        "routes.yaml:4:5 routes[0].metods: unknown key; did you mean 'methods'?",
        "routes.yaml:7:22 routes[1].methods[1]: must be one of",
        "routes.yaml:8:11 routes[1].auth: must be one of required, optional, none, not 'maybe'",
        "routes.yaml:9:24 routes[1].rate_limit.rate: must be a rate such as",
        "routes.yaml:9:37 routes[1].rate_limit.burst: must be a whole number above 0, not '-1'",
        "routes.yaml:10:15 routes[1].timeout.conect: unknown key; did you mean 'connect'?",
        "routes.yaml:10:33 routes[1].timeout.idle: must be a time such as",
        "routes.yaml:11:15 routes[1].body_max: must be a size such as",
        "routes.yaml:12:5 routes[2]: cannot be reached for GET: /b already belongs to routes[1] (b)",
        "routes.yaml:13:14 routes[2].backend: must be http://host",
        "routes.yaml:14:5 routes[3]: has no `path:`",
        "routes.yaml:14:14 routes[3].backend: the environment variable NOT_SET_ANYWHERE is not set",
        "routes.yaml:15:5 routes[4]: cannot be reached: /health/x already belongs to the gateway itself",
        "routes.yaml:17:11 routes[5].path: /internal is never reachable from outside",
        "routes.yaml:19:5 routes[6]: must be a mapping",
        "routes.yaml:21:5 aliases[0]: leads nowhere: no route begins with /nowhere",
        "routes.yaml:22:7 cors: credentials must not be allowed for every origin",
        "routes.yaml:23:1 extra: unknown key",
    ]
    for line in expected:
        assert any(each.startswith(line) for each in told), f"not reported: {line}\n" + "\n".join(told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("routes: [", "is not valid YAML"),
        ("routes:\n\t- path: /a", "routes.yaml:2:1 is not valid YAML"),
        ("- a", "must be a mapping"),
        ("defaults: {}", "has no `routes:`"),
        ("routes: {path: /a}", "must be a list"),
        ("routes: [{path: /a, path: /b, backend: 'http://a'}]", "routes[0].path: given twice"),
        ("routes: [{path: /a, backend: 'https://a'}]", "must be http://host"),
        ("routes: [{path: /a, backend: 'http://u:p@a'}]", "must be http://host"),
        ("routes: [{path: /a, backend: 'http://a:99999'}]", "must be a URL"),
        ("routes: [{path: /a/../b, backend: 'http://a'}]", "dot segments"),
        ("routes: [{path: /a, backend: 'http://a', methods: []}]", "at least one method"),
        ("routes: [{path: /docs, backend: 'http://a'}]", "the gateway itself"),
        *(
            (
                f"routes: [{{path: /a, backend: 'http://a', {keys}}}]",
                f"routes.yaml:1:{column} routes[0].{told}",
            )
            for keys, column, told in (
                ("rate_limit: {key: usr}", 60, "rate_limit.key: must be user, ip, client, route, or some"),
                ("rate_limit: {key: ip+ip}", 60, "rate_limit.key: names one part twice: 'ip+ip'"),
                ("rate_limit: [{rate: 5/s}, {key: ip}]", 68, "rate_limit[1]: has no `rate:`"),
                ("rate_limit: []", 54, "rate_limit: must be one limit or a list of 1 to 8 limits, not 0"),
                ("concurrency: {key: ip}", 55, "concurrency: has no `max:`"),
                ("claims: {role: admin}", 57, "claims.role: has a key of its own; use `roles:`"),
                ("claims: {iss: me}", 56, "claims.iss: is checked in every token"),
                ("claims: {level: 1.5}", 58, "claims.level: must be a string, a whole number, true or"),
                ("concurrency: {max: 0}", 61, "concurrency.max: must be a whole number above 0"),
            )
        ),
        (
            "routes: [{path: /a, backend: 'http://a', rate_limit: {key: ip}}]\n"  # noqa: ISC004 - two lines
            "defaults: {rate_limit: [{rate: 1/s}, {rate: 9/h}]}",
            "routes.yaml:1:54 routes[0].rate_limit: has no `rate:`; only a single limit",
        ),
        (
            "routes: [{path: /a, backend: 'http://a'}]\naliases: [{path: /a, to: /a}]",
            "already belongs to routes[0]",
        ),
        ("routes: [{path: /a-b, backend: 'http://a'}, {path: /a/b, backend: 'http://a'}]", "the name 'a-b'"),
        ("routes: [{path: /a, backend: 'http://${a b}'}]", "is not of the form"),
        (
            "routes: [{path: /a, backend: 'http://a', cors: {origins: [localhost]}}]",
            "must be origins such as",
        ),
    ],
)
def test_each_fault_of_a_file_is_reported(text: str, told: str) -> None:
    assert any(told in line for line in faults(text)), faults(text)


def test_keys_are_never_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "path")
    assert any("unknown key" in line for line in faults("routes: [{'${KEY}': /a, backend: 'http://a'}]"))


def test_invalid_file_prevents_the_start_with_exit_code_2(tmp_path: Path) -> None:
    file = tmp_path / "routes.yaml"
    file.write_text("routes: [{path: orders, backend: here}]")
    environment = os.environ | {"ROUTES_FILE": str(file), "DATA_DIR": str(tmp_path), "PORT": str(free_port())}
    for name, told in ((str(file), "routes[0].path"), (str(tmp_path / "absent.yaml"), "cannot be read")):
        ended = subprocess.run(
            [sys.executable, "-m", "gateway"],
            env=environment | {"ROUTES_FILE": name},
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert ended.returncode == 2
        assert told in ended.stderr
        assert "Traceback" not in ended.stderr
