"""Heads that are not parsed again: every byte, line and count is the same as without the memory.

The seeded comparison sends one stream of requests to two gateways, one of which remembers heads. Whatever
happens between two equal requests - a reload, a revocation, a removed key, the drain - happens to both.
"""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.config.api_keys_file import new_key, parse
from gateway.config.routes_file import load
from gateway.forwarding import admission
from gateway.forwarding.client_protocol import GatewayProtocol
from gateway.forwarding.repeated_heads import RememberingProtocol
from gateway.http.known_head import may_be_known, tail_of
from gateway.policies.api_keys import NO_KEYS
from gateway.policies.browser_sessions import cookie_of
from gateway.policies.credential_exchange import CredentialExchange
from gateway.request import RequestState
from gateway.routing.table import RouteTable
from gateway.settings import Settings
from gateway.telemetry import metrics
from shared.identity.revocations import Revocation
from shared.testing import token
from tests.gateway.comparison import ANSWERS, COOKIE, Comparison, Lines, Requests, Side, exchange
from tests.gateway.in_process import InMemory

STEPS = 2000
HITS_MIN = 250
ROUTES = """
routes:
  - path: /open
    backends: ["http://127.0.0.1:21901", "http://127.0.0.1:21904"]
    balance: round_robin
    auth: none
    rate_limit: {rate: 1000000/s}
  - {path: /orders, backend: "http://127.0.0.1:21901", methods: [GET, POST], rate_limit: {rate: 1000000/s}}
  - {path: /orders, backend: "http://127.0.0.1:21902", methods: [PUT], rate_limit: {rate: 1000000/s}}
  - path: /keys
    backend: "http://127.0.0.1:21901"
    api_keys: true
    rate_limit: {rate: 1000000/s}
    concurrency: {max: 3, key: user}
  - path: /changed
    backend: "http://127.0.0.1:21902"
    rate_limit: {rate: 1000000/s}
    headers: {request: {set: {x-tenant: a}, remove: [accept]}, response: {set: {x-frame-options: DENY}}}
  - {path: /posted, backend: "http://127.0.0.1:21902", auth: none, methods: [POST]}
  - {path: /near, backend: "http://127.0.0.1:21902", auth: none, ip: {deny: [1.2.3.0/24]}}
  - {path: /far, backend: "http://127.0.0.1:21902", ip: {deny: [127.0.0.0/8]}}
  - {path: /admins, backend: "http://127.0.0.1:21902", roles: [admin]}
  - {path: "/users/{id}/orders", backend: "http://127.0.0.1:21902", auth: optional}
aliases:
  - {path: /api/v1/orders, to: /orders, envelope: v1}
"""


@pytest.fixture
def hits(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the memory answered, each time it was asked."""
    found: list[bool] = []
    real = RememberingProtocol._is_again

    def counting(*arguments: Any) -> bool:
        found.append(real(*arguments))
        return found[-1]

    monkeypatch.setattr(RememberingProtocol, "_is_again", counting)
    return found


@pytest.mark.parametrize("proxies", [(), "127.0.0.1"], ids=["direct", "behind a proxy"])
async def test_remembered_heads_change_nothing_but_time(
    proxies: Any,
    make_settings: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hits: list[bool],
) -> None:
    chance = random.Random(16)
    lines = Lines()
    monkeypatch.setattr(metrics, "access_log", lines)
    tokens = [token(f"user-{number}", sid=f"session-{number}") for number in range(2)]
    behind_cookie = [tokens[0]]
    monkeypatch.setattr(
        CredentialExchange,
        "remembered",
        lambda _, credential: behind_cookie[0] if credential == COOKIE else None,
    )
    file = tmp_path / "routes.yaml"
    file.write_text(ROUTES)
    table = load(file, development=True)
    file.write_text(ROUTES.replace("21902", "21903").replace("/keys", "/other"))
    tables = [table, load(file, development=True)]
    key, entry = new_key("billing", "client", ("orders:read",), None)
    keys = parse("keys:\n" + entry, "keys")
    settings = make_settings(Settings, admin_port=0, trusted_proxies=proxies, auth_failures_per_second=0)
    made = [
        InMemory(settings, table, keys, protocol=protocol)
        for protocol in (GatewayProtocol, RememberingProtocol)
    ]
    requests = Requests(chance, tokens, [key])
    comparison = Comparison((Side(made[0]), Side(made[1])), lines, requests)
    for _ in range(STEPS):
        draw = chance.random()
        if draw < 0.004:
            comparison.both(partial(_reload, table=chance.choice(tables)))
        elif draw < 0.008:
            comparison.both(lambda side: side.running.gateway.take_keys(keys))
        elif draw < 0.05 and (made[0].state.draining or draw < 0.01):
            comparison.both(partial(_set_draining, on=not made[0].state.draining))
        elif draw < 0.06:
            comparison.renew()
        elif draw < 0.065:
            revocation = _revocation(chance.choice(["session-0", "session-1"]))
            comparison.both(partial(_revoke, revocation=revocation))
        elif draw < 0.095:
            comparison.both(lambda side: side.running.gateway.verifier.revocations.forget())
        elif draw < 0.098:
            comparison.both(lambda side: side.running.gateway.take_keys(NO_KEYS))
        elif draw < 0.12:
            behind_cookie[0] = chance.choice(tokens)
        await comparison.step(requests.next(), chance.choice(ANSWERS))

    assert sum(hits) >= HITS_MIN, f"{sum(hits)} hits of {len(hits)} tries"


async def test_session_cookie_is_read_once_and_exchanged_for_every_request(
    make_settings: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hits: list[bool]
) -> None:
    file = tmp_path / "routes.yaml"
    file.write_text(ROUTES)
    side = Side(InMemory(make_settings(Settings, admin_port=0), load(file, development=True)))
    request = b"GET /orders HTTP/1.1\r\nHost: a\r\nCookie: theme=dark; session=%b\r\n\r\n" % COOKIE
    read: list[bytes | None] = []

    def noted(state: RequestState) -> bytes | None:
        read.append(cookie_of(state))
        return read[-1]

    monkeypatch.setattr(admission, "cookie_of", noted)
    for session in ("session-0", "session-0", "session-0", "session-1", "session-1"):
        held = token("user-0", sid=session)
        await side.running.gateway.verifier.verify(held)
        side.running.gateway.exchange.keep(COOKIE, held, time.monotonic() + 3600)
        answer, (asked,) = await exchange(side, [request])

        assert answer.startswith(b"HTTP/1.1 200")
        assert b"authorization: Bearer " + held.encode() in asked
        assert b"cookie: theme=dark\r\n" in asked
    assert hits == [True] * 3
    assert len(read) == 4  # twice for each of the two requests from which the head was learnt


def _set_draining(side: Side, *, on: bool) -> None:
    side.running.state.draining = on


def _revoke(side: Side, revocation: Revocation) -> None:
    side.running.gateway.verifier.revocations.add([revocation])


def _reload(side: Side, table: RouteTable) -> None:
    side.running.gateway.take(table)
    side.running.adopt()


def _revocation(session: str) -> Revocation:
    return Revocation(
        number=1, kind="session", subject=session, expires=datetime.now(UTC) + timedelta(hours=1)
    )


def test_only_single_heads_of_http_11_are_remembered() -> None:
    tail = b" HTTP/1.1\r\nHost: a\r\n\r\n"

    assert tail_of(b"GET /x" + tail) == tail
    assert tail_of(b"GET /x" + tail + b"\r\n") == b""
    assert tail_of(b"GET /x" + tail + b"GET /x" + tail) == b""
    assert tail_of(b"GET /x HTTP/1.0\r\nHost: a\r\n\r\n") == b""
    assert tail_of(b"GET /" + b"x" * 8192 + tail) == b""


def test_folded_and_skipped_lines_are_not_remembered() -> None:
    line, host = b"GET /x", [(b"host", b"a")]

    assert may_be_known(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", line, host)
    assert not may_be_known(b"GET /x HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", line, host)
    assert not may_be_known(b"\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", line, host)
    assert not may_be_known(b"POST /x HTTP/1.1\r\nHost: a\r\n\r\n", b"POST /x", host)
    assert not may_be_known(b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", b"GET http://b/", host)
