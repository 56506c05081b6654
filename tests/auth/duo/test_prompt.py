"""The protocol with Duo, without the service: only a response that proves the person is accepted."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from services.auth.duo.prompt import DuoPrompt, Unreachable
from services.auth.providers.person import Secrets
from services.auth.providers.refusals import Refused
from services.auth.settings import Settings
from shared.peers.outbound import FAILURES_UNTIL_OPEN, BadAddress, CallFailed
from shared.testing import TEST_INTERNAL_SECRET
from tests.auth.conftest import KEY_SECRET
from tests.auth.duo.conftest import configured
from tests.auth.duo.double import FakeDuo

NAME, BACK = "robin", "http://127.0.0.1:8000/auth/duo/sign-in"
SECRETS = Secrets(state="s" * 43, nonce="n" * 43, verifier="v" * 43)
UNTRUSTED, DOWN = 502, 503


@pytest.fixture
def duo_settings(duo: FakeDuo, tmp_path: Any) -> Callable[..., Settings]:
    def make(**values: Any) -> Settings:
        given = {
            "data_dir": tmp_path,
            "key_secret": KEY_SECRET,
            "internal_secret": TEST_INTERNAL_SECRET,
            "oauth_issuer": "http://127.0.0.1:8000",
        }
        return Settings.model_validate({**given, **configured(duo), **values})

    return make


@pytest.fixture
async def prompt(duo_settings: Callable[..., Settings]) -> AsyncIterator[DuoPrompt]:
    made = DuoPrompt(duo_settings())
    yield made
    await made.aclose()


async def refusal(work: Any) -> tuple[int, str]:
    with pytest.raises(Refused) as raised:
        await work
    return raised.value.problem.status, raised.value.reason


async def approved(prompt: DuoPrompt, duo: FakeDuo) -> str:
    return duo.approve(await prompt.url(NAME, SECRETS, BACK))["duo_code"]


async def test_approval_is_accepted_once(prompt: DuoPrompt, duo: FakeDuo) -> None:
    code = await approved(prompt, duo)
    await prompt.require_allowed(code, NAME, SECRETS, BACK)

    assert await refusal(prompt.require_allowed(code, NAME, SECRETS, BACK)) == (
        UNTRUSTED,
        "duo_refused_the_code",
    )
    assert duo.requests == ["/oauth/v1/health_check", "/oauth/v1/token", "/oauth/v1/token"]


HOSTILE: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "another user": ("duo_wrong_user", lambda claims: claims.update(preferred_username="mallory")),
    "user in other letters": ("duo_wrong_user", lambda claims: claims.update(preferred_username="Robin")),
    "user that is not text": ("duo_wrong_user", lambda claims: claims.update(preferred_username=["robin"])),
    "no user": ("duo_bad_token", lambda claims: claims.pop("preferred_username")),
    "another nonce": ("duo_wrong_nonce", lambda claims: claims.update(nonce="m" * 43)),
    "no nonce": ("duo_bad_token", lambda claims: claims.pop("nonce")),
    "another issuer": ("duo_bad_token", lambda claims: claims.update(iss="https://duo.example/token")),
    "another audience": ("duo_bad_token", lambda claims: claims.update(aud="DIYYYYYYYYYYYYYYYYYY")),
    "expired": ("duo_bad_token", lambda claims: claims.update(exp=1)),
    "no expiry": ("duo_bad_token", lambda claims: claims.pop("exp")),
    "expiry that is not a number": ("duo_bad_token", lambda claims: claims.update(exp="soon")),
    "denied": ("duo_did_not_allow", lambda claims: claims.update(auth_result={"result": "deny"})),
    "no result": ("duo_did_not_allow", lambda claims: claims.pop("auth_result")),
}


@pytest.mark.parametrize("how", HOSTILE)
async def test_token_that_does_not_prove_the_person_is_refused_M4(
    how: str, prompt: DuoPrompt, duo: FakeDuo
) -> None:
    reason, duo.change = HOSTILE[how]
    code = await approved(prompt, duo)

    assert await refusal(prompt.require_allowed(code, NAME, SECRETS, BACK)) == (UNTRUSTED, reason)


async def test_token_with_another_signature_is_refused(prompt: DuoPrompt, duo: FakeDuo) -> None:
    code = await approved(prompt, duo)
    duo.key = b"k" * 64

    assert await refusal(prompt.require_allowed(code, NAME, SECRETS, BACK)) == (UNTRUSTED, "duo_bad_token")


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b'{"id_token": 7}', b'{"id_token": "e30.e30."}', b'{"id_token": null}']
)
async def test_response_without_a_token_is_refused(body: bytes, prompt: DuoPrompt, duo: FakeDuo) -> None:
    code = await approved(prompt, duo)
    duo.raw["token"] = 200, body

    assert await refusal(prompt.require_allowed(code, NAME, SECRETS, BACK)) == (UNTRUSTED, "duo_bad_token")


async def outage(work: Any) -> tuple[str, bool]:
    """Return the reason of a refusal, and whether roles may be allowed to sign in without Duo."""
    with pytest.raises(Refused) as raised:
        await work
    assert raised.value.problem.status == DOWN
    return raised.value.reason, isinstance(raised.value, Unreachable)


@pytest.mark.parametrize(
    ("status", "body", "reason", "is_out"),
    [
        (200, b'{"stat": "FAIL"}', "duo_not_healthy", False),
        (400, b'{"stat": "FAIL", "code": 40002}', "duo_not_healthy", False),
        (401, b'{"stat": "FAIL"}', "duo_not_healthy", False),
        (403, b'{"stat": "FAIL"}', "duo_not_healthy", False),
        (404, b"{}", "duo_not_healthy", False),
        (429, b"{}", "duo_status_429", False),
        (200, b"<html>", "duo_not_json", False),
        (400, b"<html>", "duo_not_json", False),
        (200, b"[" + b" " * 70_000 + b"]", "duo_too_large", False),
        (500, b"{}", "duo_status_500", True),
        (503, b"<html>", "duo_status_503", True),
    ],
)
async def test_unhealthy_duo_refuses_and_only_5xx_is_an_outage_M4(
    status: int, body: bytes, reason: str, is_out: bool, prompt: DuoPrompt, duo: FakeDuo
) -> None:
    duo.raw["health_check"] = status, body

    assert await outage(prompt.url(NAME, SECRETS, BACK)) == (reason, is_out)


@pytest.mark.parametrize(
    ("cause", "is_out"),
    [
        (CallFailed("unreachable"), True),
        (CallFailed("unknown_host"), True),
        (CallFailed("late"), True),
        (CallFailed("broken"), True),
        (CallFailed("busy"), False),
        (CallFailed("encoded"), False),
        (BadAddress("The address is private."), False),
    ],
)
async def test_only_a_failed_connection_is_an_outage_M4(
    cause: Exception, is_out: bool, prompt: DuoPrompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise cause

    monkeypatch.setattr("services.auth.duo.prompt.Outbound.call", fail)

    _, opens = await outage(prompt.url(NAME, SECRETS, BACK))
    assert opens is is_out


@pytest.mark.parametrize(
    ("status", "body", "is_out"), [(503, b"{}", True), (200, b"[" + b" " * 70_000 + b"]", False)]
)
async def test_pause_of_the_breaker_is_an_outage_if_it_follows_from_one_M4(
    status: int, body: bytes, is_out: bool, prompt: DuoPrompt, duo: FakeDuo
) -> None:
    duo.raw["health_check"] = status, body
    for _ in range(FAILURES_UNTIL_OPEN):
        await outage(prompt.url(NAME, SECRETS, BACK))

    assert await outage(prompt.url(NAME, SECRETS, BACK)) == ("duo_resting", is_out)


async def test_call_to_a_closed_port_is_an_outage_M4(
    duo_settings: Callable[..., Settings], unused_tcp_port: int
) -> None:
    prompt = DuoPrompt(duo_settings(duo_api_hostname=f"localhost:{unused_tcp_port}"))

    assert await outage(prompt.url(NAME, SECRETS, BACK)) == ("duo_unreachable", True)
    await prompt.aclose()


@pytest.mark.parametrize("call", ["health_check", "token"])
async def test_call_without_a_response_ends_at_the_deadline(
    call: str, duo: FakeDuo, duo_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.auth.duo.prompt.CALL_SECONDS_MAX", 0.5)
    prompt = DuoPrompt(duo_settings())
    duo.hanging.add(call)
    calls = {
        "health_check": prompt.url(NAME, SECRETS, BACK),
        "token": prompt.require_allowed("code", NAME, SECRETS, BACK),
    }
    work = calls.pop(call)
    calls.popitem()[1].close()

    status, reason = await refusal(work)
    assert (status, reason in ("duo_late", "duo_busy")) == (DOWN, True)
    await prompt.aclose()


async def test_server_with_a_certificate_of_another_ca_is_not_trusted(
    duo_settings: Callable[..., Settings], duo: FakeDuo
) -> None:
    prompt = DuoPrompt(duo_settings(outbound_ca_file=None))

    assert await refusal(prompt.url(NAME, SECRETS, BACK)) == (DOWN, "duo_unreachable")
    assert duo.requests == []
    await prompt.aclose()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"duo_skey": None}, "go together"),
        ({"duo_api_hostname": ""}, "go together"),
        ({"duo_ikey": "DI"}, "duo_ikey"),
        ({"duo_skey": "short"}, "40 ASCII characters"),
        ({"duo_api_hostname": "https://api.duosecurity.com"}, "duo_api_hostname"),
        ({"oauth_issuer": "", "environment": "production"}, "OAUTH_ISSUER or PUBLIC_URL"),
    ],
)
async def test_incomplete_settings_are_refused_at_startup(
    values: dict[str, Any], message: str, duo_settings: Callable[..., Settings]
) -> None:
    with pytest.raises(ValueError, match=message):
        duo_settings(**values)
