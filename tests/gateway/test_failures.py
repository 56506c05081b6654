"""Requests without a valid token or key: few are verified, and all of them are counted."""

import asyncio
from pathlib import Path

import pytest

from gateway.config.api_keys_file import new_key
from gateway.policies.failed_credentials import Failures
from gateway.policies.rate_limits import KEYS_MAX
from shared.identity.tokens import TokenVerifier
from shared.testing import bearer, token
from tests.gateway.backends import Backend
from tests.gateway.conftest import Start
from tests.gateway.support import Answer, RunningGateway

FEW = {"auth_failures_per_second": 1}  # ten at once
AT_ONCE = 10
PROXIED = {"trusted_proxies": "127.0.0.0/8"}


def forged(n: int) -> dict[str, str]:
    header, claims, signature = token().split(".")
    return bearer(f"{header}.{claims}.{n:04}{signature[4:]}")


def routes(backend: Backend, more: str = "rate_limit: {rate: 100000/s}") -> str:
    return f"routes: [{{path: /x, backend: '{backend.url}', {more}}}]"


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens whose signature was verified."""
    found: list[str] = []
    real = TokenVerifier._verify

    async def noting(self: TokenVerifier, shown: str) -> object:
        found.append(shown)
        return await real(self, shown)

    monkeypatch.setattr(TokenVerifier, "_verify", noting)
    return found


async def ask(gateway: RunningGateway, headers: dict[str, str], times: int = 1) -> list[Answer]:
    wire = await gateway.connect()
    return [await wire.request("GET", "/x", headers) for _ in range(times)]


class TestTokens:
    async def test_no_tokens_are_verified_after_too_many_failures(
        self, start_gateway: Start, backend: Backend, verified: list[str]
    ) -> None:
        gateway = await start_gateway(routes(backend), **FEW)
        answers = [(await ask(gateway, forged(n)))[0] for n in range(AT_ONCE + 5)]

        assert [answer.status for answer in answers] == [401] * AT_ONCE + [429] * 5
        assert len(verified) == AT_ONCE
        assert answers[-1].code == "too_many_failures"
        assert answers[-1].json()["source"] == "client"
        assert answers[-1].value("retry-after") == "1"

    async def test_token_that_was_verified_before_still_passes(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        gateway = await start_gateway(routes(backend), **FEW)
        good = bearer(token())
        assert (await ask(gateway, good))[0].status == 200
        junk = [(await ask(gateway, forged(n)))[0].status for n in range(AT_ONCE + 1)]
        assert junk[-1] == 429

        assert [answer.status for answer in await ask(gateway, good, 3)] == [200] * 3
        assert (await ask(gateway, bearer(token())))[0].code == "too_many_failures"

    async def test_other_networks_are_not_refused(self, start_gateway: Start, backend: Backend) -> None:
        gateway = await start_gateway(routes(backend), **FEW, **PROXIED)
        here, there = ({"X-Forwarded-For": address} for address in ("2001:db8::1", "2001:db8:0:1::1"))
        for n in range(AT_ONCE + 1):
            junk = await ask(gateway, forged(n) | {"X-Forwarded-For": f"2001:db8::{n}"})
        assert junk[0].status == 429

        assert (await ask(gateway, bearer(token()) | here))[0].status == 429
        assert (await ask(gateway, bearer(token()) | there))[0].status == 200

    async def test_valid_tokens_do_not_count_as_failures(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        gateway = await start_gateway(routes(backend), **FEW)
        answers = await asyncio.gather(*[ask(gateway, bearer(token())) for _ in range(AT_ONCE * 3)])

        assert {answer[0].status for answer in answers} == {200}

    async def test_limit_can_be_turned_off(self, start_gateway: Start, backend: Backend) -> None:
        gateway = await start_gateway(routes(backend), auth_failures_per_second=0)
        statuses = [(await ask(gateway, forged(n)))[0].status for n in range(150)]

        assert set(statuses) == {401}

    async def test_default_burst_is_a_hundred_failures(self, start_gateway: Start, backend: Backend) -> None:
        gateway = await start_gateway(routes(backend))
        answers = await asyncio.gather(*[ask(gateway, forged(n)) for n in range(200)])
        statuses = [answer[0].status for answer in answers]

        assert 100 <= statuses.count(401) < 200


class TestApiKeys:
    async def test_valid_key_passes_while_other_keys_from_the_address_are_refused(
        self, start_gateway: Start, backend: Backend, tmp_path: Path
    ) -> None:
        key, entry = new_key("billing", "client", (), None)
        (tmp_path / "keys.yaml").write_text(f"keys:\n{entry}")
        gateway = await start_gateway(
            routes(backend, "api_keys: true"), api_keys_file=tmp_path / "keys.yaml", **FEW
        )
        wrong = [
            (await ask(gateway, {"X-API-Key": f"gatehouse_{n:016x}_{n:064x}"}))[0] for n in range(AT_ONCE + 2)
        ]
        assert [answer.code for answer in wrong] == ["invalid_api_key"] * AT_ONCE + ["too_many_failures"] * 2

        assert (await ask(gateway, {"X-API-Key": key}))[0].status == 200
        assert (await ask(gateway, forged(1)))[0].status == 429


class TestLimitsOfTheRoute:
    @pytest.mark.parametrize("key", ["user", "ip", "client", "user+route"])
    @pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic eA=="}, bearer("a.b.c")])
    async def test_refused_strangers_count_against_limits_by_address(
        self, start_gateway: Start, backend: Backend, key: str, headers: dict[str, str]
    ) -> None:
        limit = f"rate_limit: {{rate: 1/h, burst: 3, key: {key}}}"
        gateway = await start_gateway(routes(backend, limit))
        answers = await ask(gateway, headers, 5)

        assert [answer.status for answer in answers] == [401] * 3 + [429] * 2
        assert answers[-1].code == "rate_limited"
        assert int(answers[-1].value("retry-after") or 0) > 3000
        by_user = key != "ip"
        assert (await ask(gateway, bearer(token())))[0].status == (200 if by_user else 429)

    async def test_strangers_cannot_use_up_a_limit_of_the_whole_route(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        limits = "rate_limit: [{rate: 1/h, burst: 3, key: route}, {rate: 1/h, burst: 6, key: user}]"
        gateway = await start_gateway(routes(backend, limits))
        assert [answer.status for answer in await ask(gateway, {}, 7)] == [401] * 6 + [429]

        statuses = [answer.status for answer in await ask(gateway, bearer(token()), 4)]
        assert statuses == [200] * 3 + [429]

    async def test_strangers_on_open_routes_are_counted_once(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        limit = "auth: optional, rate_limit: {rate: 1/h, burst: 3, key: ip}"
        gateway = await start_gateway(routes(backend, limit))

        assert [answer.status for answer in await ask(gateway, {}, 4)] == [200] * 3 + [429]


def test_memory_for_networks_is_bounded() -> None:
    failures = Failures(1)
    for n in range(KEYS_MAX * 3):
        failures.add(f"network {n}", 0.0)

    assert failures._limiter is not None
    assert failures._limiter.keys <= 2 * KEYS_MAX
