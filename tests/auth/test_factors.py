"""Second factors: enrolled, required at every sign-in, each code accepted once."""

import asyncio
import re
import time
from datetime import timedelta
from typing import Any

import httpx
import jwt
import pyotp
import pytest

from services.auth.factors import totp
from services.auth.models import Challenge, Factor, RecoveryCode
from shared.testing import bearer, internal_token
from tests.auth.conftest import StoppedClock
from tests.auth.mailbox import Mailbox
from tests.auth.oauth.support import OURS, create_client, sign_in, tokens_for
from tests.auth.support import PASSWORD, let_time_pass, login, register, rows


class Clock:
    """The clock of the codes, advanced by the test."""

    def __init__(self) -> None:
        self.now = time.time()

    def time(self) -> float:
        return self.now


@pytest.fixture
def codes(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(totp, "time", clock)
    return clock


class Person:
    """A person with an authenticator app."""

    def __init__(self, registered: dict[str, Any], clock: Clock) -> None:
        self.id, self.email = registered["user"]["id"], registered["user"]["email"]
        self.headers = bearer(registered["token"])
        self._clock = clock
        self.secret = ""
        self.recovery_codes: list[str] = []

    def code(self, steps: int = 0) -> str:
        return pyotp.TOTP(self.secret).at(int(self._clock.now) + 30 * steps)

    def next_code(self) -> str:
        """Return a code that was not used yet."""
        self._clock.now += 30
        return self.code()


async def enrolled(auth: httpx.AsyncClient, clock: Clock) -> Person:
    person = Person(await register(auth), clock)
    body = {"current_password": PASSWORD}
    begun = (await auth.post("/auth/me/totp", json=body, headers=person.headers)).json()
    person.secret = begun["secret"]
    code = {"code": person.code()}
    response = await auth.post("/auth/me/totp/confirm", json=code, headers=person.headers)
    assert response.status_code == 200, response.text
    person.recovery_codes = response.json()["recovery_codes"]
    return person


async def mfa_token(auth: httpx.AsyncClient, person: Person) -> str:
    response = await login(auth, person.email)
    assert response.status_code == 200, response.text
    token: str = response.json()["mfa_token"]
    return token


async def verify(auth: httpx.AsyncClient, token: str, code: str) -> httpx.Response:
    return await auth.post("/auth/mfa/verify", json={"mfa_token": token, "code": code})


async def test_password_alone_grants_no_access_M1(auth: httpx.AsyncClient, codes: Clock) -> None:
    person = await enrolled(auth, codes)
    asked = (await login(auth, person.email)).json()

    assert asked.keys() == {"requires_mfa", "mfa_token", "methods", "expires_in"}
    assert (asked["requires_mfa"], asked["expires_in"]) == (True, 300)
    assert (await auth.get("/auth/me", headers=bearer(asked["mfa_token"]))).status_code == 401
    refresh = {"refresh_token": asked["mfa_token"]}
    assert (await auth.post("/auth/refresh", json=refresh)).status_code == 401
    done = await verify(auth, asked["mfa_token"], person.next_code())
    assert done.json()["user"]["id"] == person.id
    assert (await auth.get("/auth/me", headers=bearer(done.json()["token"]))).status_code == 200


async def test_name_and_passcode_finish_a_sign_in_of_this_browser_as_older_clients_send_them(
    auth: httpx.AsyncClient, codes: Clock
) -> None:
    path = "/auth/mfa/verify"
    person = await enrolled(auth, codes)
    without_password = {"username": person.email, "passcode": person.next_code()}
    assert (await auth.post(path, json=without_password)).json()["code"] == "invalid_mfa_token"
    asked = await login(auth, person.email)
    assert "HttpOnly; SameSite=Strict" in asked.headers["set-cookie"]
    other = {"username": "admin", "passcode": person.code()}
    assert (await auth.post(path, json=other)).json()["code"] == "invalid_mfa_token"
    both = {"username": person.email, "passcode": "1", "code": "1"}
    assert (await auth.post(path, json=both)).status_code == 422
    wrong = await auth.post(path, json={"username": person.email, "passcode": "000000"})
    assert wrong.json()["code"] == "invalid_code"
    done = await auth.post(path, json={"username": person.email, "passcode": person.next_code()})

    assert done.status_code == 200, done.text
    assert done.json().keys() >= {"token", "user"}
    assert done.json()["user"]["id"] == person.id
    assert "mfa" not in auth.cookies


async def test_page_asks_for_the_code_and_the_id_token_states_it(
    auth: httpx.AsyncClient, codes: Clock
) -> None:
    client = await create_client(auth)
    person = await enrolled(auth, codes)
    page = await sign_in(auth, person.email)
    found = re.search(r'name="mfa_token" value="([^"]+)"', page.text)
    assert found is not None
    assert "session" not in auth.cookies
    form = {"mfa_token": found[1], "code": "000000", "next": ""}
    wrong = await auth.post("/auth/signin/code", data=form, headers=OURS)
    foreign = await auth.post("/auth/signin/code", data=form)
    right = await auth.post("/auth/signin/code", data=form | {"code": person.next_code()}, headers=OURS)

    assert (wrong.status_code, foreign.status_code, right.status_code) == (401, 403, 303)
    assert found[1] in wrong.text
    tokens = await tokens_for(auth, client)
    claims = jwt.decode(tokens["id_token"], options={"verify_signature": False})
    assert claims["amr"] == ["pwd", "otp"]
    late = await auth.post("/auth/signin/code", data=form, headers=OURS)
    assert late.status_code == 401
    assert "Sign in again" in late.text


@pytest.mark.conforms("RFC 6238 5.2")
async def test_code_is_accepted_once_and_up_to_one_step_early_or_late_M2(
    auth: httpx.AsyncClient, codes: Clock
) -> None:
    person = await enrolled(auth, codes)
    used = person.code()

    assert (await verify(auth, await mfa_token(auth, person), used)).json()["code"] == "invalid_code"
    codes.now += 60
    assert (await verify(auth, await mfa_token(auth, person), person.code(-2))).status_code == 401
    assert (await verify(auth, await mfa_token(auth, person), person.code(2))).status_code == 401
    early = person.code(1)
    assert (await verify(auth, await mfa_token(auth, person), early)).status_code == 200
    assert (
        await verify(auth, await mfa_token(auth, person), person.code())
    ).status_code == 401  # older than the last used code
    codes.now += 90
    assert (await verify(auth, await mfa_token(auth, person), person.code(-1))).status_code == 200


async def test_one_of_twenty_concurrent_codes_is_accepted_M2(auth: httpx.AsyncClient, codes: Clock) -> None:
    person = await enrolled(auth, codes)
    tokens = [await mfa_token(auth, person) for _ in range(5)]
    code = person.next_code()
    responses = await asyncio.gather(*(verify(auth, token, code) for token in tokens * 4))

    assert [one.status_code for one in responses].count(200) == 1


async def test_challenge_allows_five_attempts_and_five_minutes_M1_M2(
    auth: httpx.AsyncClient, codes: Clock, clock: StoppedClock, database_url: str
) -> None:
    person = await enrolled(auth, codes)
    token = await mfa_token(auth, person)
    for _ in range(5):
        assert (await verify(auth, token, "000000")).json()["code"] == "invalid_code"
        clock.advance(1000)
    assert (await verify(auth, token, person.next_code())).json()["code"] == "invalid_mfa_token"
    token = await mfa_token(auth, person)
    let_time_pass(database_url, Challenge, "expires", timedelta(minutes=5, seconds=1))

    assert (await verify(auth, token, person.next_code())).json()["code"] == "invalid_mfa_token"


async def test_wrong_codes_throttle_the_account_M2(
    auth: httpx.AsyncClient, codes: Clock, clock: StoppedClock
) -> None:
    person = await enrolled(auth, codes)
    for _ in range(5):
        assert (await verify(auth, await mfa_token(auth, person), "000000")).status_code == 401
    throttled = await verify(auth, await mfa_token(auth, person), person.next_code())
    clock.advance(float(throttled.headers["retry-after"]) + 1)

    assert throttled.json()["code"] == "login_throttled"
    assert (await verify(auth, await mfa_token(auth, person), person.next_code())).status_code == 200


async def test_secret_is_encrypted_and_recovery_codes_are_hashed_M2_M3(
    auth: httpx.AsyncClient, codes: Clock, database_url: str
) -> None:
    person = await enrolled(auth, codes)

    assert person.secret not in str(rows(database_url, Factor))
    assert len(person.secret) == 32
    assert person.recovery_codes[0] not in str(rows(database_url, RecoveryCode))


async def test_recovery_code_is_accepted_once_M3(auth: httpx.AsyncClient, codes: Clock) -> None:
    person = await enrolled(auth, codes)
    first = person.recovery_codes[0]
    spelled = "-".join((first[:4], first[4:8], first[8:])).upper()

    assert len(set(person.recovery_codes)) == 10
    assert (await verify(auth, await mfa_token(auth, person), spelled)).status_code == 200
    assert (await verify(auth, await mfa_token(auth, person), first)).status_code == 401
    assert (await verify(auth, await mfa_token(auth, person), person.recovery_codes[1])).status_code == 200


async def test_enrolling_and_removing_an_app_require_the_password(
    auth: httpx.AsyncClient, codes: Clock
) -> None:
    person = await enrolled(auth, codes)
    wrong, right = {"current_password": "wrong"}, {"current_password": PASSWORD}
    for path in ("/auth/me/totp", "/auth/me/totp/remove"):
        refused = await auth.post(path, json=wrong, headers=person.headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "wrong_password")
        assert (await auth.post(path, json=right)).status_code == 401
        assert (await auth.post(path, json={}, headers=person.headers)).status_code == 422
    assert (await auth.post("/auth/me/totp/remove", json=right, headers=person.headers)).status_code == 204
    assert (await auth.post("/auth/me/totp/remove", json=right, headers=person.headers)).status_code == 409
    assert "token" in (await login(auth, person.email)).json()


async def test_unconfirmed_app_is_not_required_at_sign_in(auth: httpx.AsyncClient, codes: Clock) -> None:
    person = Person(await register(auth), codes)
    body = {"current_password": PASSWORD}
    first = (await auth.post("/auth/me/totp", json=body, headers=person.headers)).json()
    second = (await auth.post("/auth/me/totp", json=body, headers=person.headers)).json()
    assert "token" in (await login(auth, person.email)).json()
    person.secret = first["secret"]
    path = "/auth/me/totp/confirm"
    assert (await auth.post(path, json={"code": person.code()}, headers=person.headers)).status_code == 401
    person.secret = second["secret"]

    assert second["uri"].startswith("otpauth://totp/Gatehouse:")
    assert second["qr_svg"].startswith("<svg")
    assert (await auth.post(path, json={"code": person.code()}, headers=person.headers)).status_code == 200
    assert "mfa_token" in (await login(auth, person.email)).json()


async def test_password_change_ends_challenges_and_keeps_the_factor(
    auth: httpx.AsyncClient, codes: Clock
) -> None:
    person = await enrolled(auth, codes)
    token = await mfa_token(auth, person)
    body = {"current_password": PASSWORD, "new_password": "another password"}
    assert (await auth.put("/auth/me/password", json=body, headers=person.headers)).status_code == 204

    assert (await verify(auth, token, person.next_code())).json()["code"] == "invalid_mfa_token"
    assert "mfa_token" in (await login(auth, person.email, "another password")).json()


async def test_reset_removes_the_factors_and_ends_the_sessions(auth: httpx.AsyncClient, codes: Clock) -> None:
    person = await enrolled(auth, codes)
    path, internal = f"/internal/accounts/{person.id}/factors", bearer(internal_token("auth"))

    assert (await auth.delete(path, headers=person.headers)).status_code == 401
    assert (await auth.delete(path, headers=internal)).status_code == 204
    assert (await auth.get("/auth/me", headers=person.headers)).status_code == 401
    assert "token" in (await login(auth, person.email)).json()


async def test_every_change_of_factors_sends_a_mail_M3(
    mailbox: Mailbox, auth: httpx.AsyncClient, codes: Clock
) -> None:
    person = await enrolled(auth, codes)
    body = {"current_password": PASSWORD}
    await auth.post("/auth/me/totp/remove", json=body, headers=person.headers)

    assert len(mailbox.mails(person.email, "factor_added")) == 1
    assert len(mailbox.mails(person.email, "factor_removed")) == 1


async def test_secret_that_waited_for_15_minutes_is_not_confirmed(
    auth: httpx.AsyncClient, codes: Clock, database_url: str
) -> None:
    person = Person(await register(auth), codes)
    body = {"current_password": PASSWORD}
    for minutes, status in ((16, 401), (14, 200)):
        begun = await auth.post("/auth/me/totp", json=body, headers=person.headers)
        person.secret = begun.json()["secret"]
        let_time_pass(database_url, Factor, "created", timedelta(minutes=minutes))
        code = {"code": person.code()}
        response = await auth.post("/auth/me/totp/confirm", json=code, headers=person.headers)

        assert response.status_code == status, response.text
