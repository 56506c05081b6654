"""The settings, the first start, and replicas that start at the same time."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from structlog.testing import capture_logs

import services.auth.accounts.first_admin
import services.auth.keys.signing_keys
from contracts.demo import DOMAIN
from contracts.demo import PASSWORD as DEMO_PASSWORD
from services.auth.app import create_app
from services.auth.credentials.passwords import hash_password
from services.auth.key_models import SigningKey
from services.auth.models import Account
from services.auth.settings import Settings
from shared.process.settings import SettingsError
from shared.testing import TEST_INTERNAL_SECRET, bearer, running
from tests.auth.support import login, register, rows

PRODUCTION = {"environment": "production", "host": "0.0.0.0"}


class TestFirstAdmin:
    async def test_first_admin_on_loopback_has_the_default_password(
        self, make_auth_settings: Callable[..., Settings]
    ) -> None:
        settings = make_auth_settings()
        async with running(create_app, settings) as auth:
            response = await login(auth, "admin", "admin123")

        assert response.status_code == 200
        user = response.json()["user"]
        assert (user["role"], user["email"]) == ("ADMIN", "admin@example.com")
        assert settings.notice() == "admin login: admin / admin123 (development only)"

    @pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "auth"])
    async def test_password_is_random_if_other_machines_can_connect_A9(
        self, make_auth_settings: Callable[..., Settings], host: str
    ) -> None:
        settings = make_auth_settings(host=host)
        with capture_logs() as logs:
            async with running(create_app, settings) as auth:
                assert (await login(auth, "admin", "admin123")).status_code == 401
                [made] = [entry for entry in logs if entry["event"] == "admin_created"]
                assert len(made["password"]) >= 20
                assert (await login(auth, "admin", made["password"])).status_code == 403
            async with running(create_app, settings):
                pass
        assert [entry["event"] for entry in logs].count("admin_created") == 1
        assert settings.notice() is None

    async def test_configured_password_is_used_and_never_logged_A9(
        self, make_auth_settings: Callable[..., Settings]
    ) -> None:
        password = "correct horse battery"
        settings = make_auth_settings(
            **PRODUCTION, admin_username="chief", admin_email="Chief@corp.test", admin_password=password
        )
        with capture_logs() as logs:
            async with running(create_app, settings) as auth:
                for name in ("chief", "chief@corp.test"):
                    assert (await login(auth, name, password)).json()["code"] == "password_change_required"
        assert "admin_created" in [entry["event"] for entry in logs]
        assert password not in str(logs)
        assert password not in str(settings.masked())
        assert settings.notice() is None

    async def test_first_admin_signs_in_only_with_a_new_password_A9(
        self, make_auth_settings: Callable[..., Settings]
    ) -> None:
        given, chosen = "correct horse battery", "staple of my own choice"
        async with running(create_app, make_auth_settings(**PRODUCTION, admin_password=given)) as auth:

            async def sign_in(password: str, **fields: str) -> httpx.Response:
                body = {"username": "admin", "password": password, **fields}
                return await auth.post("/auth/login", json=body)

            refused = await sign_in(given)
            wrong = await sign_in("something else", new_password=chosen)
            faults = [await sign_in(given, new_password=bad) for bad in (given, "short", "Gatehouse1")]
            first = await sign_in(given, new_password=chosen)

            assert (refused.status_code, refused.json()["code"]) == (403, "password_change_required")
            assert (wrong.status_code, wrong.json()["code"]) == (401, "invalid_credentials")
            assert [one.status_code for one in faults] == [422] * 3
            assert {one.json()["errors"][0]["field"] for one in faults} == {"new_password"}
            assert (first.status_code, first.json()["user"]["role"]) == (200, "ADMIN")
            assert (await sign_in(chosen)).status_code == 200
            assert (await sign_in(given)).status_code == 401

    async def test_page_asks_for_a_new_password_at_the_first_sign_in_A9(
        self, make_auth_settings: Callable[..., Settings]
    ) -> None:
        given, chosen = "correct horse battery", "staple of my own choice"
        async with running(create_app, make_auth_settings(**PRODUCTION, admin_password=given)) as auth:

            async def submit(**fields: str) -> httpx.Response:
                form = {"name": "admin", "password": given, "next": "/auth/account", **fields}
                return await auth.post("/auth/signin", data=form, headers={"Sec-Fetch-Site": "same-origin"})

            asked, short, done = (
                await submit(),
                await submit(new_password="short"),
                await submit(new_password=chosen),
            )

            assert asked.status_code == 403
            assert 'name="new_password"' in asked.text
            assert "set-cookie" not in asked.headers
            assert short.status_code == 422
            assert "must have" in short.text
            assert (done.status_code, done.headers["location"]) == (303, "/auth/account")

    async def test_changed_password_survives_a_restart(
        self, make_auth_settings: Callable[..., Settings]
    ) -> None:
        settings = make_auth_settings()
        async with running(create_app, settings) as auth:
            token = (await login(auth, "admin", "admin123")).json()["token"]
            change = {"current_password": "admin123", "new_password": "another password"}
            await auth.put("/auth/me/password", json=change, headers=bearer(token))
        async with running(create_app, settings) as auth:
            assert (await login(auth, "admin", "admin123")).status_code == 401
            assert (await login(auth, "admin", "another password")).status_code == 200

    async def test_admin_name_taken_by_a_user_prevents_the_start(
        self, make_auth_settings: Callable[..., Settings], database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as without_admin:
            without_admin.setattr("services.auth.app.create_first_admin", lambda *_: None)
            async with running(create_app, make_auth_settings()) as auth:
                await register(auth, username="Admin")
        with pytest.raises(SettingsError, match="ADMIN_USERNAME or ADMIN_EMAIL"):
            async with running(create_app, make_auth_settings()):
                pass
        async with running(create_app, make_auth_settings(admin_username="chief")) as auth:
            assert (await login(auth, "chief", "admin123")).status_code == 200

    @pytest.mark.parametrize(
        ("forwarded_for", "status"),
        [
            ("127.0.0.1", 200),
            ("::1, 127.0.0.1", 200),
            ("::ffff:127.0.0.1", 200),
            ("203.0.113.9", 401),
            ("203.0.113.9, 127.0.0.1", 401),
            ("127.0.0.1,203.0.113.9", 401),
            ("somebody", 401),
        ],
    )
    async def test_default_password_is_refused_for_clients_of_a_public_gateway(
        self, make_auth_settings: Callable[..., Settings], forwarded_for: str, status: int
    ) -> None:
        async with running(create_app, make_auth_settings()) as auth:
            auth.headers["X-Forwarded-For"] = forwarded_for
            assert (await login(auth, "admin", "admin123")).status_code == status
            await register(auth, username="just-a-user", password="admin123")
            assert (await login(auth, "just-a-user", "admin123")).status_code == 200

    async def test_demo_password_is_refused_as_well_for_accounts_of_the_demo(
        self, make_auth_settings: Callable[..., Settings]
    ) -> None:
        email = f"ines.albrecht@{DOMAIN}"
        async with running(create_app, make_auth_settings()) as auth:
            await register(auth, email=email, password=DEMO_PASSWORD)
            await register(auth, username="just-a-user", password=DEMO_PASSWORD)
            assert (await login(auth, email, DEMO_PASSWORD)).status_code == 200
            auth.headers["X-Forwarded-For"] = "203.0.113.9"
            refused = await login(auth, email, DEMO_PASSWORD)
            assert (refused.status_code, refused.json()["code"]) == (401, "invalid_credentials")
            assert (await login(auth, "just-a-user", DEMO_PASSWORD)).status_code == 200
        async with running(create_app, make_auth_settings(host="0.0.0.0")) as auth:
            assert (await login(auth, email, DEMO_PASSWORD)).status_code == 401

    async def test_default_password_is_refused_once_other_machines_can_connect(
        self, make_auth_settings: Callable[..., Settings]
    ) -> None:
        async with running(create_app, make_auth_settings()) as auth:
            assert (await login(auth, "admin", "admin123")).status_code == 200
        async with running(create_app, make_auth_settings(host="0.0.0.0")) as auth:
            refused = await login(auth, "admin", "admin123")
            assert (refused.status_code, refused.json()["code"]) == (401, "invalid_credentials")


class TestTogether:
    async def test_replicas_that_start_together_create_one_admin_and_one_key(
        self, make_auth_settings: Callable[..., Settings], database_url: str
    ) -> None:
        async with AsyncExitStack() as stack:
            replicas = await asyncio.gather(
                *[
                    stack.enter_async_context(running(create_app, make_auth_settings(database_pool=2)))
                    for _ in range(4)
                ]
            )
            assert len(rows(database_url, Account)) == 1
            assert len(rows(database_url, SigningKey)) == 1
            token = (await login(replicas[0], "admin", "admin123")).json()["token"]
            for replica in replicas:
                assert (await replica.get("/auth/me", headers=bearer(token))).status_code == 200

    async def test_replicas_that_both_find_an_empty_database_create_one_admin_and_one_key(
        self, make_auth_settings: Callable[..., Settings], database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        both = threading.Barrier(2, timeout=30)

        def make_key(**options: Any) -> rsa.RSAPrivateKey:
            both.wait()
            return rsa.generate_private_key(**options)

        def hash_slowly(password: str, cost: int) -> str:
            both.wait()
            return hash_password(password, cost)

        monkeypatch.setattr(services.auth.keys.signing_keys, "generate_private_key", make_key)
        monkeypatch.setattr(services.auth.accounts.first_admin, "hash_password", hash_slowly)
        with capture_logs() as logs:
            async with AsyncExitStack() as stack:
                one, other = await asyncio.gather(
                    *[stack.enter_async_context(running(create_app, make_auth_settings())) for _ in range(2)]
                )
                token = (await login(one, "admin", "admin123")).json()["token"]
                assert (await other.get("/auth/me", headers=bearer(token))).status_code == 200
        assert len(rows(database_url, Account)) == 1
        assert len(rows(database_url, SigningKey)) == 1
        events = [entry["event"] for entry in logs]
        assert (events.count("admin_created"), events.count("signing_key_created")) == (1, 1)


class TestSettings:
    @pytest.fixture
    def load(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
        """Load settings from an environment with only these variables."""

        def load(**variables: str) -> Settings:
            for name in Settings.model_fields:
                monkeypatch.delenv(name.upper(), raising=False)
            everything = {"DATA_DIR": str(tmp_path), "INTERNAL_SECRET": TEST_INTERNAL_SECRET, **variables}
            for name, value in everything.items():
                monkeypatch.setenv(name, value)
            return Settings.load()

        return load

    def test_development_needs_no_settings(self, load: Callable[..., Settings], tmp_path: Path) -> None:
        first, second = load(), load()

        assert first.key_secret == second.key_secret
        assert len(first.key_secret.get_secret_value()) == 64
        assert (tmp_path / "secrets" / "key_secret").stat().st_mode & 0o777 == 0o600
        assert (first.port, first.bcrypt_cost, first.access_token_seconds) == (8083, 12, 900)
        assert (first.refresh_idle_seconds, first.refresh_absolute_seconds) == (14 * 86400, 90 * 86400)

    def test_production_requires_the_key_secret(self, load: Callable[..., Settings]) -> None:
        with pytest.raises(SettingsError, match=r"KEY_SECRET: .*openssl rand"):
            load(ENVIRONMENT="production")
        assert load(ENVIRONMENT="production", KEY_SECRET="5f1d7a84e0c9423b8f60a7d219ec3b55").key_secret

    @pytest.mark.parametrize(
        "password", ["admin123", "short", "elevenchars", "changeme1234", "x" * 20, "y" * 1025]
    )
    @pytest.mark.parametrize(
        "where", [{"ENVIRONMENT": "production", "KEY_SECRET": "ab12" * 16}, {"HOST": "0.0.0.0"}]
    )
    def test_guessable_admin_password_is_refused_A9(
        self, load: Callable[..., Settings], where: dict[str, str], password: str
    ) -> None:
        with pytest.raises(SettingsError, match="ADMIN_PASSWORD: ") as refused:
            load(**where, ADMIN_PASSWORD=password)
        assert password not in str(refused.value)

    def test_production_has_no_default_password_even_on_loopback_A9(
        self, load: Callable[..., Settings]
    ) -> None:
        settings = load(
            ENVIRONMENT="production", KEY_SECRET="5f1d7a84e0c9423b8f60a7d219ec3b55", HOST="127.0.0.1"
        )

        assert settings.first_admin_password() is None

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("BCRYPT_COST", "3"),
            ("BCRYPT_COST", "17"),
            ("ACCESS_TOKEN_SECONDS", "0"),
            ("REFRESH_GRACE_SECONDS", "-1"),
            ("ADMIN_USERNAME", "a b"),
            ("ADMIN_EMAIL", "admin"),
            ("KEY_SECRET", "short"),
        ],
    )
    def test_error_names_the_invalid_setting(
        self, load: Callable[..., Settings], name: str, value: str
    ) -> None:
        with pytest.raises(SettingsError, match=f"{name}: "):
            load(**{name: value})
