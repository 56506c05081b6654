"""Which route a path belongs to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.table import Alias, BadPath, Policy, Route, RouteTable, is_internal
from gateway.routing.upstreams import Origin, Upstream

words = st.sampled_from(["a", "b", "ab", "a-b", "users", "x"])
paths = st.lists(words, max_size=4).map(lambda parts: "/" + "/".join(parts))
OWN = ["/health", "/metrics", "/docs", "/openapi.json"]


def route(path: str) -> Route:
    return Route(path.encode(), path, Upstream.to(Origin("localhost", 80)), Policy())


def table(*places: str, aliases: list[tuple[str, str]] | None = None) -> RouteTable:
    spelled = [Alias(path.encode(), to.encode(), envelope=False) for path, to in aliases or []]
    return RouteTable([route(place) for place in places], spelled)


def naive(places: set[str], path: str) -> str | None:
    """Return the longest of the paths that are prefixes on a segment boundary."""
    parts = path.split("/")[1:]
    found = None
    for place in places | set(OWN):
        wanted = [] if place == "/" else place.split("/")[1:]
        if parts[: len(wanted)] == wanted and (found is None or len(wanted) > len(found[1])):
            found = (place, wanted)
    return None if found is None or found[0] in OWN else found[0]


@given(st.sets(paths, max_size=8), paths, st.sampled_from(["", "/", "?q=/a/b"]))
def test_router_agrees_with_a_naive_one(places: set[str], path: str, tail: str) -> None:
    target = path + ("" if path == "/" and tail == "/" else tail)
    found = table(*places).match(target.encode()).route
    expected = naive(places, target.partition("?")[0])
    assert (found.path.decode() if found else None) == expected


def test_longest_prefix_on_a_segment_boundary_wins() -> None:
    routes = table("/a", "/a/b", "/ab")
    for target, expected in {
        "/a": "/a",
        "/a/x": "/a",
        "/a/b/c": "/a/b",
        "/ab": "/ab",
        "/a/bc": "/a",
        "/a?x": "/a",
    }.items():
        found = routes.match(target.encode()).route
        assert found is not None
        assert found.path.decode() == expected


def test_path_of_many_segments_is_matched_quickly() -> None:
    # Quadratic work here would take minutes.
    assert table("/a/b").match(b"/x" * 500_000).route is None


ALIASES = [("/api", "/"), ("/api/v1", "/"), ("/api/users/login", "/auth/login"), ("/api/v1/me", "/users/me")]


@pytest.mark.parametrize(
    ("target", "rewritten"),
    [
        ("/api/orders/7?x=1", "/orders/7?x=1"),
        ("/api/v1/orders", "/orders"),
        ("/api/v1", "/"),
        ("/api?x", "/?x"),
        ("/api/users/login", "/auth/login"),
        ("/api/users/login/", "/auth/login/"),
        ("/api/users/logins", "/users/logins"),
        ("/api/v1/me?fields=a", "/users/me?fields=a"),
        ("/api/v1/orders%2F7", "/orders%2F7"),
        ("/api/api/orders", "/api/orders"),
    ],
)
def test_alias_is_rewritten(target: str, rewritten: str) -> None:
    match = table("/orders", "/users", "/auth", aliases=ALIASES).match(target.encode())
    assert match.target.decode() == rewritten
    assert match.alias is not None


def test_alias_is_rewritten_only_once() -> None:
    match = table("/orders", aliases=ALIASES).match(b"/api/api/orders")
    assert match.route is None


@pytest.mark.parametrize(
    ("link", "outward"),
    [("/orders/7", "/api/orders/7"), ("/orders?cursor=x", "/api/orders?cursor=x"), ("/", "/api")],
)
def test_links_use_the_alias_of_the_caller(link: str, outward: str) -> None:
    assert Alias(b"/api", b"/", envelope=False).outward(link.encode()).decode() == outward


def test_links_to_other_paths_are_unchanged() -> None:
    assert Alias(b"/api/me", b"/users/me", envelope=False).outward(b"/users/meow") == b"/users/meow"


@pytest.mark.parametrize(
    "path",
    [
        "/internal",
        "/internal/",
        "/INTERNAL/x",
        "/%69nternal",
        "/%49nternal/revocations",
        "/%2569nternal",
        "//internal",
        "/%2finternal",
        "/\\internal",
        "/%5cinternal",
        "/internal%2fx",
        "/internal;x=1",
        "/internal%3bx",
        "/internal%00",
        "/internal%20/x",
        "/internal\\x",
        "/internal%5Cx",
        "/int%65rnal/x",
    ],
)
def test_internal_is_recognised_in_every_encoding(path: str) -> None:
    assert is_internal(path.encode())


@pytest.mark.parametrize(
    "path", ["/", "/internals", "/internal-x", "/x/internal", "/intern", "/users/%69nternal"]
)
def test_other_paths_are_not_internal(path: str) -> None:
    assert not is_internal(path.encode())


@pytest.mark.parametrize(
    "target",
    [
        "/internal",
        "/internal?x=1",
        "/Internal/?x=1",
        "/api/internal/x",
        "/api/v1/internal",
        "/api/%69nternal",
        "/api/INTERNAL",
        "/api//internal",
    ],
)
def test_internal_is_not_routed_even_with_a_route_for_everything(target: str) -> None:
    assert table("/", "/users", "/auth", aliases=ALIASES).match(target.encode()).route is None


@pytest.mark.parametrize(
    "target",
    [
        "",
        "x",
        "*",
        "/a/../b",
        "/a/..",
        "/./a",
        "/a/%2e%2e/b",
        "/%2E/b",
        "/..%2fb",
        "/a#b",
        "/a?b#c",
        "/a\\..\\b",
        "/a/..;/b",
        "/a/%252e%252e/b",
        "/api/..",
        "/a b",
    ],
)
def test_ambiguous_paths_are_refused(target: str) -> None:
    with pytest.raises(BadPath):
        table("/a", aliases=ALIASES).match(target.encode())


SPECIAL = ("/orders", "/orders/admin", "/auth", "/auth/login")


@pytest.mark.parametrize(
    "target",
    [
        "/orders/%61dmin",
        "/orders/%61dmin/7",
        "/orders/%2561dmin",
        "/orders//admin",
        "/orders/%2fadmin",
        "/orders\\admin",
        "/orders/;x/admin",
        "/orders/admin;x=1",
        "/orders/admin%3bx=1/7",
        "/auth/%6cogin",
        "/api/users/%6cogin",
        "/api/%75sers/login",
    ],
)
def test_no_encoding_bypasses_the_rules_of_a_longer_path(target: str) -> None:
    """Services decode paths, and some drop empty segments and parameters."""
    with pytest.raises(BadPath):
        table(*SPECIAL, "/users", aliases=ALIASES).match(target.encode())


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/orders/%61dmins", "/orders"),
        ("/orders/a%2Fdmin", "/orders"),
        ("/orders//7", "/orders"),
        ("/orders/7;x=1", "/orders"),
        ("/orders/admin/%61", "/orders/admin"),
        ("/orders/na%C3%AFve%20name", "/orders"),
    ],
)
def test_encoding_that_changes_nothing_passes_unchanged(target: str, path: str) -> None:
    match = table(*SPECIAL).match(target.encode())
    assert match.route is not None
    assert (match.route.path, match.target) == (path.encode(), target.encode())
