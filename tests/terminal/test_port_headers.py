"""What a proxied request and its response may carry."""

import pytest

from services.terminal.ports.headers import cookies_of, for_browser, for_program

COOKIE = "__Host-gatehouse-port"
OWN = "shop-1.ports.example"


def sent(*headers: tuple[bytes, bytes]) -> dict[bytes, bytes]:
    return dict(for_program([*headers], cookie=COOKIE, own=OWN, local="localhost:3000", is_https=True))


def received(*headers: tuple[bytes, bytes], status: int = 200) -> list[tuple[bytes, bytes]]:
    return for_browser([*headers], status, cookie=COOKIE, local="localhost:3000")


def test_program_receives_its_own_cookies_but_not_the_one_that_lets_a_browser_in() -> None:
    text = b"a=1; " + COOKIE.encode() + b"=secret;b=2=3"
    assert sent((b"cookie", text))[b"cookie"] == b"a=1; b=2=3"
    assert b"cookie" not in sent((b"cookie", COOKIE.encode() + b"=secret"))


def test_all_cookies_of_our_name_are_tried_but_only_a_few() -> None:
    pairs = b"; ".join(COOKIE.encode() + b"=%d" % number for number in range(9))
    assert cookies_of([(b"cookie", b"x=1"), (b"cookie", pairs)], COOKIE) == ["0", "1", "2", "3"]


def test_program_is_addressed_as_localhost_and_its_own_origin_is_translated() -> None:
    headers = sent((b"host", OWN.encode()), (b"origin", b"https://" + OWN.encode()))
    assert headers[b"host"] == b"localhost:3000"
    assert headers[b"origin"] == b"http://localhost:3000"
    assert headers[b"x-forwarded-host"] == OWN.encode()
    assert headers[b"x-forwarded-proto"] == b"https"
    assert sent((b"origin", b"https://evil.example"))[b"origin"] == b"https://evil.example"


@pytest.mark.parametrize(
    "name",
    ["x-forwarded-for", "x-user-id", "x-gatehouse-key", "upgrade", "te", "keep-alive", "x-request-id"],
)
def test_headers_of_the_gateway_and_of_one_connection_do_not_reach_the_program(name: str) -> None:
    assert name.encode() not in sent((name.encode(), b"x"))


def test_headers_that_connection_names_are_dropped_in_both_directions() -> None:
    named = ((b"connection", b"close, X-Mine"), (b"x-mine", b"1"), (b"x-other", b"2"))
    assert b"x-mine" not in sent(*named)
    assert received(*named) == [(b"x-other", b"2")]


@pytest.mark.parametrize(("status", "is_passed"), [(200, True), (304, False), (204, False), (404, True)])
def test_length_is_passed_only_with_responses_that_have_a_body(status: int, is_passed: bool) -> None:
    assert (received((b"content-length", b"5"), status=status) != []) == is_passed


def test_response_sets_cookies_only_for_its_own_host_name() -> None:
    assert received((b"set-cookie", b"a=1; Domain=ports.example; Path=/; domain = .x")) == [
        (b"set-cookie", b"a=1; Path=/")
    ]
    assert received((b"set-cookie", COOKIE.encode() + b"=stolen; Path=/")) == []


@pytest.mark.parametrize(
    "name",
    ["strict-transport-security", "clear-site-data", "alt-svc", "transfer-encoding", "x-accel-redirect"],
)
def test_headers_that_apply_to_more_than_one_port_do_not_reach_the_browser(name: str) -> None:
    assert received((name.encode(), b"x")) == []


@pytest.mark.parametrize(
    ("location", "seen"),
    [
        ("http://localhost:3000/a?b", "/a?b"),
        ("https://localhost:3000/a", "/a"),
        ("http://localhost:3000", "/"),
        ("http://localhost:30001/a", "http://localhost:30001/a"),
        ("/a", "/a"),
        ("https://other.example/", "https://other.example/"),
    ],
)
def test_redirects_to_the_program_itself_stay_on_its_host_name(location: str, seen: str) -> None:
    assert received((b"location", location.encode())) == [(b"location", seen.encode())]
