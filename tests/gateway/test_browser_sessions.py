"""How the gateway handles session cookies of browsers."""

from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import SecretStr

from gateway.http.headers import Header
from gateway.policies.browser_sessions import cookie_of, is_from_our_pages, present
from gateway.policies.credential_exchange import (
    CREDENTIAL_BYTES_MAX,
    KEPT_MAX,
    SPARE_SECONDS,
    CredentialExchange,
)
from gateway.request import RequestRules, RequestState
from gateway.settings import Settings
from shared.peers.client import HttpClient
from shared.testing import TEST_INTERNAL_SECRET
from tests.gateway.support import request_state

OWN = "https://api.example"


def asked_with(*headers: Header, method: bytes = b"GET", upgrade: bool = False) -> RequestState:
    state = request_state(headers=headers)
    state.rules = RequestRules(session_cookie=b"__Host-session", origin=OWN)
    state.request.method, state.request.upgrade = method, upgrade
    return state


@pytest.mark.parametrize(
    ("cookies", "found"),
    [
        ([b"__Host-session=abc"], b"abc"),
        ([b"a=1; __Host-session=abc;b=2"], b"abc"),
        ([b"a=1", b"__Host-session=abc"], b"abc"),
        ([b"__Host-session=a=b"], b"a=b"),
        ([b"__Host-session=first; __Host-session=second"], b"first"),
        ([b"x__Host-session=abc"], None),
        ([b"session=abc"], None),
        ([b"__host-session=abc"], None),
        ([b"a=__Host-session=abc"], None),
        ([b"__Host-session="], None),
        ([b"__Host-session"], None),
        ([b"__Host-session=" + b"x" * (CREDENTIAL_BYTES_MAX + 1)], None),
        ([], None),
    ],
)
def test_cookie_is_found_by_its_exact_name(cookies: Sequence[bytes], found: bytes | None) -> None:
    assert cookie_of(asked_with(*((b"cookie", value) for value in cookies))) == found


def test_cookie_is_ignored_if_there_are_other_credentials() -> None:
    headers = ((b"cookie", b"__Host-session=abc"), (b"authorization", b"Bearer x"))

    assert cookie_of(asked_with(*headers)) is None


@pytest.mark.parametrize(
    ("method", "upgrade", "headers", "counts"),
    [
        (b"GET", False, [(b"sec-fetch-site", b"cross-site")], True),
        (b"HEAD", False, [], True),
        (b"GET", True, [(b"origin", b"https://evil.example")], False),
        (b"GET", True, [(b"origin", OWN.encode())], True),
        (b"POST", False, [], False),
        (b"POST", False, [(b"origin", OWN.encode())], True),
        (b"POST", False, [(b"origin", b"null")], False),
        (b"POST", False, [(b"origin", OWN.encode() + b".evil.example")], False),
        (b"POST", False, [(b"origin", b"http://api.example")], False),
        (b"DELETE", False, [(b"sec-fetch-site", b"same-origin")], True),
        (b"DELETE", False, [(b"sec-fetch-site", b"same-site")], False),
        (b"DELETE", False, [(b"sec-fetch-site", b"none")], False),
        (b"PATCH", False, [(b"sec-fetch-site", b"cross-site"), (b"origin", OWN.encode())], False),
    ],
)
def test_only_same_origin_requests_can_change_state(
    method: bytes, upgrade: bool, headers: list[Header], counts: bool
) -> None:
    assert is_from_our_pages(asked_with(*headers, method=method, upgrade=upgrade)) is counts


def test_token_is_forwarded_in_place_of_the_cookie() -> None:
    state = asked_with((b"cookie", b"a=1; __Host-session=abc; b=2"), (b"accept", b"*/*"))
    present(state, "a.b.c")
    passed = b"".join(state.passed)

    assert passed == b"cookie: a=1; b=2\r\naccept: */*\r\nauthorization: Bearer a.b.c\r\n"


def test_token_is_forwarded_in_place_of_an_access_key() -> None:
    state = asked_with((b"authorization", b"Bearer gatehouse_pat_x"), (b"cookie", b"__Host-session=abc"))
    present(state, "a.b.c")

    assert b"".join(state.passed) == b"cookie: __Host-session=abc\r\nauthorization: Bearer a.b.c\r\n"


def test_cookie_header_with_only_the_session_is_dropped() -> None:
    state = asked_with((b"cookie", b"__Host-session=abc"))
    present(state, "a.b.c")

    assert b"".join(state.passed) == b"authorization: Bearer a.b.c\r\n"


class Exchanging(HttpClient):
    """Responds like auth, and records the requests."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def request(
        self, method: str, url: str, *, body: Any = None, headers: dict[str, str] | None = None
    ) -> Any:
        self.asked.append(body["credential"])
        return {"token": f"token of {body['credential']}", "expires_in": SPARE_SECONDS + len(self.asked) - 1}


async def test_token_is_remembered_until_shortly_before_it_expires() -> None:
    client = Exchanging()
    sessions = CredentialExchange(Settings(internal_secret=SecretStr(TEST_INTERNAL_SECRET)), client)

    assert await sessions.exchange(b"old") == "token of old"
    assert sessions.remembered(b"old") is None
    await sessions.exchange(b"new")
    assert sessions.remembered(b"new") == "token of new"
    assert sessions.remembered(b"other") is None
    sessions.forget(b"new")
    assert sessions.remembered(b"new") is None


async def test_a_bounded_number_of_tokens_is_remembered() -> None:
    sessions = CredentialExchange(Settings(internal_secret=SecretStr(TEST_INTERNAL_SECRET)), Exchanging())
    for number in range(KEPT_MAX + 5):
        await sessions.exchange(b"%d" % number)

    assert sessions.remembered(b"4") is None
    assert sessions.remembered(b"%d" % (KEPT_MAX + 4)) is not None
