"""Hosts, methods, parameters, exact paths and rewriting: which route wins, and what the backend receives."""

import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.routes_file import RoutesFileError, parse
from gateway.routing.table import Policy, Route, RouteTable
from gateway.routing.upstreams import Origin, Upstream
from tests.gateway.backends import Backend
from tests.gateway.conftest import Start
from tests.gateway.support import RunningGateway

words = st.sampled_from(["a", "b", "users", "{id}", "{x}"])
patterns = st.lists(words, max_size=4, unique=True).map(lambda parts: "/" + "/".join(parts))
paths = st.lists(st.sampled_from(["a", "b", "users", "7", ""]), min_size=1, max_size=5).map(
    lambda parts: "/" + "/".join(parts)
)
HOSTS = ["", "a.example", "*.a.example", "*.example"]


def route(path: str, *, exact: bool = False, hosts: Sequence[str] = (), rewrite: str | None = None) -> Route:
    name = f"{path} {exact} {hosts}"
    rewritten = None if rewrite is None else rewrite.encode()
    return Route(path.encode(), name, Upstream.to(Origin("b", 80)), Policy(), tuple(hosts), exact, rewritten)


def specificity(route: Route, path: str) -> tuple[int, ...] | None:
    """Return how specific a matching pattern is, segment by segment; None if it does not match."""
    wanted = route.path.decode().split("/")[1:] if route.path != b"/" else []
    parts = path.split("/")[1:] if path != "/" else []
    if len(parts) < len(wanted) or (route.exact and len(parts) != len(wanted)):
        return None
    ranks = []
    for part, want in zip(parts, wanted, strict=False):
        if want.startswith("{"):
            if not part:
                return None
            ranks.append(1)
        elif part == want:
            ranks.append(2)
        else:
            return None
    return (*ranks, 1 if route.exact else 0)


def naive(routes: Sequence[Route], path: str, host: str) -> str | None:
    """Return the name of the best matching route, by host and then by path."""
    best: tuple[tuple[int, int], tuple[int, ...], str] | None = None
    for each in routes:
        for name in each.hosts or ("",):
            if name.startswith("*."):
                fits, rank = host.endswith(name[1:]), (1, len(name))
            else:
                fits, rank = name in ("", host), (2 if name else 0, 0)
            fit = specificity(each, path) if fits else None
            if fit is not None and (best is None or (rank, fit) > best[:2]):
                best = (rank, fit, each.name)
    return best[2] if best else None


@given(
    st.sets(st.tuples(patterns, st.booleans(), st.sampled_from(HOSTS)), max_size=12),
    paths,
    st.sampled_from(["a.example", "x.a.example", "b.example", "other.test", ""]),
)
def test_router_agrees_with_a_naive_one(entries: set[tuple[str, bool, str]], path: str, host: str) -> None:
    alike: dict[object, Route] = {}  # a file may contain only one of two equivalent patterns
    for pattern, exact, name in sorted(entries):
        key = (pattern.replace("{id}", "{}").replace("{x}", "{}"), exact, name)
        alike.setdefault(key, route(pattern, exact=exact, hosts=(name,) if name else ()))
    routes = list(alike.values())
    table = RouteTable(routes)
    if "//" in path:
        return  # covered by test_table.py
    found = table.match(path.encode(), b"GET", host).route
    assert (found.name if found else None) == naive(routes, path, host)


METHODS = (b"GET", b"POST", b"DELETE")


@given(
    st.lists(
        st.tuples(
            patterns, st.booleans(), st.sampled_from(HOSTS), st.sets(st.sampled_from(METHODS), min_size=1)
        ),
        max_size=12,
    ),
    paths,
    st.sampled_from(["a.example", "x.a.example", "b.example", ""]),
    st.sampled_from(METHODS),
)
def test_methods_are_matched_as_by_a_naive_router(
    entries: list[tuple[str, bool, str, set[bytes]]], path: str, host: str, method: bytes
) -> None:
    """The path is matched first, then the first of its routes that accepts the method; if none does, 405."""
    routes = [
        replace(
            route(pattern, exact=exact, hosts=(name,) if name else ()),
            name=str(number),
            policy=Policy(methods=frozenset(methods)),
        )
        for number, (pattern, exact, name, methods) in enumerate(entries)
    ]
    if "//" in path:
        return
    found = RouteTable(routes).match(path.encode(), method, host)
    place = naive_place(routes, path, host)
    takes = [each for each in place if method in each.policy.methods]
    assert found.route == next(iter(takes or place), None)
    allowed = {name for each in place for name in each.policy.methods}
    assert set(found.allow_header.encode().split(b", ")) - {b"HEAD", b""} == allowed


def naive_place(routes: Sequence[Route], path: str, host: str) -> list[Route]:
    """Return all routes as specific as the most specific one that matches, in order."""
    fits = [(rank, each) for each in routes if (rank := naive_rank(each, path, host)) is not None]
    best = max((rank for rank, _ in fits), default=None)
    return [each for rank, each in fits if rank == best]


def naive_rank(route: Route, path: str, host: str) -> tuple[tuple[int, int], tuple[int, ...]] | None:
    fit = specificity(route, path)
    for name in route.hosts or ("",):
        if fit is not None and name in ("", host):
            return ((2 if name else 0, 0), fit)
        if fit is not None and name.startswith("*.") and host.endswith(name[1:]):
            return ((1, len(name)), fit)
    return None


@pytest.mark.parametrize(
    ("path", "rewrite", "target", "sent"),
    [
        ("/shop", "/", "/shop/x/y?q=%2F&z", "/x/y?q=%2F&z"),
        ("/shop", "/", "/shop", "/"),
        ("/shop", "/", "/shop?x", "/?x"),
        ("/shop", "/", "/shop/", "/"),
        ("/shop", "/v2/shop", "/shop/a", "/v2/shop/a"),
        ("/users/{id}/orders", "/orders/of/{id}", "/users/a%2Bb/orders/9?x", "/orders/of/a%2Bb/9?x"),
        ("/a/{x}/{y}", "/{y}/{x}", "/a/1/2", "/2/1"),
        ("/", "/v1", "/a/b", "/v1/a/b"),
        ("/", "/v1", "/", "/v1"),
    ],
)
def test_path_is_rewritten_and_the_query_kept(path: str, rewrite: str, target: str, sent: str) -> None:
    match = RouteTable([route(path, rewrite=rewrite)]).match(target.encode())
    assert match.target.decode() == sent


def test_matched_bytes_are_forwarded_without_a_rewrite() -> None:
    match = RouteTable([route("/a/{x}")]).match(b"/a/%41;p//~?%zz&&")
    assert match.target == b"/a/%41;p//~?%zz&&"


def test_links_of_rewritten_routes_use_the_callers_paths() -> None:
    match = RouteTable([route("/users/{id}/orders", rewrite="/orders/of/{id}")]).match(b"/users/7/orders/9")
    assert match.outward(b"/orders/of/7/10?x") == b"/users/7/orders/10?x"
    assert match.outward(b"/orders/of/8/10") == b"/orders/of/8/10"
    stripped = RouteTable([route("/shop", rewrite="/")]).match(b"/shop/a")
    assert stripped.outward(b"/b") == b"/shop/b"


@pytest.mark.parametrize(
    ("path", "rewrite", "target"),
    [
        ("/shop", "/", "/shop/internal/x"),
        ("/shop", "/", "/shop//internal"),
        ("/shop", "/", "/shop/%69nternal"),
        ("/{x}", "/{x}", "/internal"),
        ("/a/{x}", "/{x}", "/a/internal"),
        ("/a/{x}", "/{x}/y", "/a/INTERNAL"),
    ],
)
def test_rewriting_never_leads_to_internal(path: str, rewrite: str, target: str) -> None:
    assert RouteTable([route(path, rewrite=rewrite)]).match(target.encode()).route is None


ROUTES = """
routes:
  - {path: /orders, backend: "%(url)s", auth: none, methods: [GET]}
  - {path: /orders, backend: "%(url)s", name: writes, methods: [POST, PUT]}
  - {path: /shop, backend: "%(url)s", auth: none, strip: true}
  - {path: "/users/{id}/orders", backend: "%(url)s", auth: none, rewrite: "/v2/{id}", exact: true}
  - {path: /, name: admin, backend: "%(url)s", auth: none, hosts: [admin.example, "*.admin.example"]}
aliases:
  - {path: /api, to: /}
"""


@pytest.fixture
async def routing(start_gateway: Start, backend: Backend) -> RunningGateway:
    return await start_gateway(ROUTES % {"url": backend.url})


async def test_method_decides_among_routes_of_one_path(routing: RunningGateway) -> None:
    assert (await routing.request("GET", "/orders/7")).status == 200
    assert (await routing.request("HEAD", "/orders/7")).status == 200
    assert (await routing.request("POST", "/orders")).status == 401
    answer = await routing.request("DELETE", "/orders")
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert answer.value("allow") == "GET, HEAD, POST, PUT"


async def test_preflight_is_matched_like_the_request_it_announces(
    start_gateway: Start, backend: Backend
) -> None:
    cors = "cors: {origins: ['https://%s.example']}"
    running = await start_gateway(f"""
routes:
  - {{path: /a, backend: "{backend.url}", methods: [GET], {cors % "reads"}}}
  - {{path: /a, name: w, backend: "{backend.url}", methods: [POST], {cors % "writes"}}}
""")
    for method, origin, status in (("GET", "reads", 204), ("POST", "reads", 403), ("POST", "writes", 204)):
        headers = {"Origin": f"https://{origin}.example", "Access-Control-Request-Method": method}
        assert (await running.request("OPTIONS", "/a", headers)).status == status


async def test_backend_receives_the_rewritten_target(routing: RunningGateway, backend: Backend) -> None:
    for target in ("/shop/a%2Fb?x=%20", "/users/7/orders?x", "/api/shop/c"):
        assert (await routing.request("GET", target)).status == 200
    assert [received.target for received in backend.received] == ["/a%2Fb?x=%20", "/v2/7?x", "/c"]
    assert (await routing.request("GET", "/users/7/orders/9")).status == 404


@pytest.mark.parametrize(
    ("host", "target", "status"),
    [
        ("admin.example", "/anything", 200),
        ("ADMIN.example:8000", "/anything", 200),
        ("admin.example.", "/anything", 200),
        ("x.y.admin.example", "/anything", 200),
        ("notadmin.example", "/anything", 404),
        ("other.example", "/anything", 404),
        ("other.example", "http://admin.example/anything", 200),
        ("admin.example", "http://other.example/anything", 404),
        ("admin.example", "/health", 200),
    ],
)
async def test_route_with_hosts_is_found_by_host(
    routing: RunningGateway, host: str, target: str, status: int
) -> None:
    wire = await routing.connect()
    await wire.send(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
    assert (await wire.answer()).status == status


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["path: '/u/{id}'", "path: '/u/{name}', name: n"], "already belongs to routes[0] (u-id)"),
        (["path: /a, hosts: [x.example]", "path: /a, name: n, hosts: [y.example, x.example]"],
         "cannot be reached: x.example/a already belongs to routes[0] (a)"),
        (["path: /a, methods: [GET, PUT]", "path: /a, name: n, methods: [POST, PUT]"],
         "cannot be reached for PUT: /a already belongs to routes[0] (a)"),
        (["path: '/docs/{x}'"], "already belongs to the gateway itself"),
        (["path: '/a/{x}/{x}'"], "contains one parameter twice"),
        (["path: '/a/x{y}'"], "must be a path such as"),
        (["path: '/a', rewrite: '/{x}'"], "the path has no {x}"),
        (["path: '/a', rewrite: '/internal'"], "/internal is never reachable"),
        (["path: '/a', rewrite: '/b', strip: true"], "remove one of the two"),
        (["path: '/a', hosts: ['A.example']"], "must be lower-case host names"),
        (["path: '/a', hosts: []"], "at least one host"),
        (["path: '/a', exact: maybe"], "must be one of true, false"),
    ],
)  # fmt: skip
def test_each_fault_of_a_path_is_reported(lines: list[str], told: str) -> None:
    text = "\n".join(["routes:", *(f"  - {{{line}, backend: 'http://b'}}" for line in lines)])
    with pytest.raises(RoutesFileError) as error:
        parse(text, "routes.yaml", development=True)
    assert len(error.value.faults) == 1
    assert told in error.value.faults[0]


def test_routes_that_differ_do_not_conflict() -> None:
    text = """
routes:
  - {path: /a, backend: "http://b"}
  - {path: /a, backend: "http://b", name: a-exact, exact: true}
  - {path: /a, backend: "http://b", name: a-there, hosts: [there.example]}
  - {path: "/{a}", backend: "http://b", name: any}
"""
    assert len(parse(text, "routes.yaml", development=True).routes) == 4


def test_lookup_in_ten_thousand_routes_costs_as_much_as_in_ten() -> None:
    """Compare by a generous ratio: a list would be a thousand times slower."""

    def seconds(count: int) -> float:
        table = RouteTable([route(f"/area{n % 100}/{{id}}/place{n}", exact=n % 2 == 0) for n in range(count)])
        targets = [f"/area{n % 100}/x/place{n}".encode() for n in range(0, count, max(1, count // 10))]
        best = float("inf")
        for _ in range(7):
            started = time.perf_counter()
            for _ in range(20):
                for target in targets:
                    assert table.match(target).route is not None
            best = min(best, time.perf_counter() - started)
        return best / len(targets)

    assert seconds(10_000) < 10 * seconds(10)
