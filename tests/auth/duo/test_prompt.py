"""The protocol with Duo, without the service: only a response that proves the person is accepted."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from services.auth.duo.prompt import DuoPrompt
from services.auth.providers.person import Secrets
from services.auth.providers.refusals import Refused
from services.auth.settings import Settings
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
    "user that is no text": ("duo_wrong_user", lambda claims: claims.update(preferred_username=["robin"])),
    "no user": ("duo_bad_token", lambda claims: claims.pop("preferred_username")),
    "another nonce": ("duo_wrong_nonce", lambda claims: claims.update(nonce="m" * 43)),
    "no nonce": ("duo_bad_token", lambda claims: claims.pop("nonce")),
    "another issuer": ("duo_bad_token", lambda claims: claims.update(iss="https://duo.example/token")),
    "another audience": ("duo_bad_token", lambda claims: claims.update(aud="DIYYYYYYYYYYYYYYYYYY")),
    "expired": ("duo_bad_token", lambda claims: claims.update(exp=1)),
    "no expiry": ("duo_bad_token", lambda claims: claims.pop("exp")),
    "expiry that is no number": ("duo_bad_token", lambda claims: claims.update(exp="soon")),
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


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, b'{"stat": "FAIL"}', "duo_not_healthy"),
        (400, b'{"stat": "FAIL", "code": 40002}', "duo_not_healthy"),
        (500, b"{}", "duo_status_500"),
        (429, b"{}", "duo_status_429"),
        (200, b"<html>", "duo_not_json"),
        (200, b"[" + b" " * 70_000 + b"]", "duo_too_large"),
    ],
)
async def test_unhealthy_duo_is_an_outage(
    status: int, body: bytes, reason: str, prompt: DuoPrompt, duo: FakeDuo
) -> None:
    duo.raw["health_check"] = status, body

    assert await refusal(prompt.url(NAME, SECRETS, BACK)) == (DOWN, reason)


@pytest.mark.parametrize("call", ["health_check", "token"])
async def test_call_without_an_answer_ends_at_the_deadline(
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
        ({"duo_skey": "short"}, "40 characters"),
        ({"duo_api_hostname": "https://api.duosecurity.com"}, "duo_api_hostname"),
        ({"oauth_issuer": "", "environment": "production"}, "OAUTH_ISSUER or PUBLIC_URL"),
    ],
)
async def test_incomplete_settings_are_refused_at_startup(
    values: dict[str, Any], message: str, duo_settings: Callable[..., Settings]
) -> None:
    with pytest.raises(ValueError, match=message):
        duo_settings(**values)
