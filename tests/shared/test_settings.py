"""Settings: all faults reported together, secrets read from files, weak ones refused, none printed."""

import secrets
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from shared.process.guessable import is_guessable
from shared.process.settings import (
    ProcessSettings,
    SettingsError,
    development_secret,
    exit_on_bad_settings,
    mask,
)
from shared.testing import TEST_INTERNAL_SECRET, TEST_JWT_SECRET
from tests.shared.notes.app import Settings
from tests.shared.processes import ROOT

GOOD = "5f1d7a84e0c9423b8f60a7d219ec3b55"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))


def faults() -> str:
    with pytest.raises(SettingsError) as raised:
        Settings.load()
    return str(raised.value)


class TestLoad:
    def test_development_needs_no_settings(self, tmp_path: Path) -> None:
        settings = Settings.load()

        assert settings.port == 18080
        assert settings.host == "127.0.0.1"
        assert settings.database_url == f"sqlite:///{tmp_path}/notes.db"
        assert settings.jwks_url == "http://127.0.0.1:8083/.well-known/jwks.json"
        assert settings.jwt_secret is None
        assert settings.notice() is None

    def test_all_faults_are_reported_together(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        bad = {
            "PORT": "70000",
            "LOG_LEVEL": "loud",
            "LOG_FORMAT": "xml",
            "ENVIRONMENT": "staging",
            "DRAIN_SECONDS": "0",
            "DATABASE_POOL": "many",
            "JWT_SECRET": "secret",
            "REDIS_URL_FILE": str(tmp_path / "missing"),
        }
        for name, value in bad.items():
            monkeypatch.setenv(name, value)
        told = faults()

        assert told.startswith("notes: the settings are invalid:")
        assert all(f"\n  {name}: " in told for name in bad)
        assert "generate one with: openssl rand -hex 32" in told
        assert "INTERNAL_SECRET" not in told  # it is not known yet whether it is needed
        assert "Value error" not in told
        for value in ("70000", "loud", "xml", "staging", "many"):
            assert value not in told

    @pytest.mark.parametrize("url", ["nonsense", "mysql://a:b@c/d", "/var/data/notes.db"])
    def test_unsupported_database_url_is_refused(self, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
        monkeypatch.setenv("DATABASE_URL", url)
        told = faults()

        assert "  DATABASE_URL: must be postgresql://user:password@host/database or sqlite:///" in told
        assert url not in told

    def test_ports_of_several_servers_are_given_in_the_query(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DATABASE_URL", "postgresql://a:secret@one:5432,two:5433/d")
        assert "DATABASE_URL: name several servers as postgresql://user:password@/database?host=" in faults()

        for url in ("postgresql://a:b@one,two/d", "postgresql://a:b@/d?host=one,two&port=1,2"):
            monkeypatch.setenv("DATABASE_URL", url)
            assert Settings.load().database_url == url

    def test_settings_cannot_be_changed(self) -> None:
        settings = Settings.load()
        with pytest.raises(ValidationError):
            settings.port = 1  # type: ignore[misc]

    def test_empty_value_counts_as_not_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PORT", "")
        monkeypatch.setenv("JWT_SECRET", "")

        assert Settings.load().port == 18080

    def test_unknown_variables_are_ignored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LOG_LEVEL", "DEBUG")
        monkeypatch.setenv("SOMETHING_ELSE", "1")

        assert Settings.load().log_level == "debug"

    def test_process_with_bad_settings_exits_with_2(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            exit_on_bad_settings(SettingsError("notes: wrong"))
        assert ended.value.code == 2
        assert capsys.readouterr().err == "notes: wrong\n"


class TestFiles:
    def test_value_is_read_from_a_file(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text(f"{GOOD}\n")
        monkeypatch.setenv("JWT_SECRET_FILE", str(tmp_path / "secret"))
        secret = Settings.load().jwt_secret

        assert secret is not None
        assert secret.get_secret_value() == GOOD

    @pytest.mark.parametrize("kind", ["missing", "a folder", "not text"])
    def test_unreadable_file_is_a_fault(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
    ) -> None:
        file = tmp_path / "secret"
        if kind == "a folder":
            file.mkdir()
        if kind == "not text":
            file.write_bytes(b"\xff\xfe\xff")
        monkeypatch.setenv("INTERNAL_SECRET_FILE", str(file))

        assert "\n  INTERNAL_SECRET_FILE: cannot be read: " in faults()


class TestSecrets:
    @pytest.mark.parametrize(
        "secret",
        [
            "short",
            "x" * 31,
            "x" * 40,
            "your-very-secure-random-secret-min-32-chars",
            "your-secret-key-your-secret-key-your",
            "change-me-please-0123456789abcdef0123456789",
            "CHANGEME0123456789abcdef0123456789abcdef",
            "this-is-only-an-example-of-a-secret-123",
            "placeholder-0123456789abcdef0123456789",
        ],
    )
    @pytest.mark.parametrize("name", ["JWT_SECRET", "INTERNAL_SECRET"])
    def test_weak_secrets_and_placeholders_are_refused(
        self, monkeypatch: pytest.MonkeyPatch, secret: str, name: str
    ) -> None:
        monkeypatch.setenv(name, secret)
        told = faults()

        assert f"  {name}: " in told
        assert secret not in told

    def test_production_generates_no_secret(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("ENVIRONMENT", "production")

        assert "  INTERNAL_SECRET: " in faults()
        assert not (tmp_path / "secrets").exists()
        monkeypatch.setenv("INTERNAL_SECRET", GOOD)
        assert Settings.load().environment == "production"

    def test_development_generates_one_secret_and_keeps_it(self, tmp_path: Path) -> None:
        first, second = Settings.load(), Settings.load()
        file = tmp_path / "secrets" / "internal_secret"

        assert first.internal_secret == second.internal_secret
        assert file.read_text() == first.internal_secret.get_secret_value()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert [left.name for left in file.parent.iterdir()] == ["internal_secret"]

    def test_data_dir_that_is_not_writable_is_a_fault(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("DATA_DIR", str(tmp_path / "file"))

        told = faults()

        assert "  INTERNAL_SECRET: could not be stored under DATA_DIR" in told
        assert "set DATA_DIR to a writable directory" in told

    def test_first_thread_decides_the_generated_secret(self, tmp_path: Path) -> None:
        with ThreadPoolExecutor(8) as threads:
            for number in range(30):
                folder, together = tmp_path / str(number), threading.Barrier(8)

                def make(_: int, folder: Path = folder, together: threading.Barrier = together) -> str:
                    together.wait(10)
                    given = {"environment": "development", "data_dir": folder}
                    return development_secret("internal_secret", given).get_secret_value()

                assert len(set(threads.map(make, range(8)))) == 1

    def test_processes_that_start_together_share_one_secret(self, tmp_path: Path) -> None:
        code = (
            "import sys; from shared.process.settings import development_secret; "
            "print('loaded', flush=True); "
            "sys.stdin.readline(); settings = {'environment': 'development', 'data_dir': sys.argv[1]}; "
            "print(development_secret('internal_secret', settings).get_secret_value())"
        )
        command = [sys.executable, "-c", code, str(tmp_path)]
        pipe = subprocess.PIPE
        processes = [
            subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) for _ in range(6)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "loaded\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        printed = {process.communicate(timeout=60)[0] for process in processes}

        assert printed == {(tmp_path / "secrets" / "internal_secret").read_text() + "\n"}


class TestPrinting:
    def test_no_secret_is_printed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("JWT_SECRET", TEST_JWT_SECRET)
        monkeypatch.setenv("INTERNAL_SECRET", TEST_INTERNAL_SECRET)
        monkeypatch.setenv("DATABASE_URL", "postgresql://notes:pa@ss:w@rd@db/notes")
        monkeypatch.setenv("REDIS_URL", "redis://:hunter2@cache")
        settings = Settings.load()
        printed = str(settings.masked()) + repr(settings.jwt_secret)

        for secret in (TEST_JWT_SECRET, TEST_INTERNAL_SECRET, "hunter2", "pa@ss", "w@rd", "rd@db"):
            assert secret not in printed
        assert settings.masked()["database_url"] == "postgresql://notes:***@db/notes"
        assert settings.masked()["port"] == "18080"

    @pytest.mark.parametrize(
        ("url", "printed"),
        [
            ("postgresql://u:p@h/d", "postgresql://u:***@h/d"),
            ("redis://:p@h:6379/0", "redis://:***@h:6379/0"),
            (
                "postgresql:///d?host=h&user=u&password=p&x=1",
                "postgresql:///d?host=h&user=u&password=***&x=1",
            ),
            ("postgresql://h/d?password=p%40", "postgresql://h/d?password=***"),
            ("sqlite:////data/a.db", "sqlite:////data/a.db"),
            ("http://127.0.0.1:8083", "http://127.0.0.1:8083"),
        ],
    )
    def test_passwords_in_urls_are_masked(self, url: str, printed: str) -> None:
        assert mask(url) == printed

    def test_process_without_a_database_has_settings_too(self) -> None:
        class Alone(ProcessSettings):
            service = "alone"

        assert isinstance(Alone.load().internal_secret, SecretStr)
        assert "jwt_secret" not in Alone.load().masked()


class TestGuessable:
    @pytest.mark.parametrize(
        "text",
        [
            "passwordpasswordpasswordpassword",
            "Password1234",
            "P@ssw0rd1234",
            "admin1234567890",
            "letmein2024!!",
            "abcdefghijklmnopqrstuvwxyz012345",
            "98765432109876543210987654321098",
            "my-secret-my-secret-my-secret-my",
            "5f1d7a84e0c9423b5f1d7a84e0c9423b",
            "aaaaaaaaaaaabbbbbbbbbbbbcccccccc",
            "",
        ],
    )
    def test_secrets_that_anyone_would_try_first_are_guessable(self, text: str) -> None:
        assert is_guessable(text)

    @pytest.mark.parametrize(
        "text", [GOOD, TEST_JWT_SECRET, TEST_INTERNAL_SECRET, "correct horse battery", "Tr0ub4dor&3x"]
    )
    def test_good_secrets_are_not_guessable(self, text: str) -> None:
        assert not is_guessable(text)

    def test_random_secrets_are_never_guessable(self) -> None:
        made = [secrets.token_hex(16) for _ in range(5000)] + [secrets.token_urlsafe(18) for _ in range(5000)]

        assert [text for text in made if is_guessable(text)] == []

    @pytest.mark.parametrize("name", ["JWT_SECRET", "INTERNAL_SECRET"])
    def test_guessable_secret_is_refused(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.setenv(name, "passwordpasswordpasswordpassword")

        assert f"  {name}: needs at least 32 random characters" in faults()

    def test_same_value_for_two_secrets_is_refused_in_production(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("JWT_SECRET", GOOD)
        monkeypatch.setenv("INTERNAL_SECRET", GOOD)
        Settings.load()
        monkeypatch.setenv("ENVIRONMENT", "production")
        told = faults()

        assert "JWT_SECRET and INTERNAL_SECRET have the same value" in told
        assert GOOD not in told
        monkeypatch.setenv("INTERNAL_SECRET", TEST_INTERNAL_SECRET)
        Settings.load()
