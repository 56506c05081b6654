"""The configuration of providers."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from services.auth.provider_settings import GOOGLE, read_providers
from services.auth.settings import Settings
from shared.process.settings import SettingsFaults
from shared.testing import TEST_INTERNAL_SECRET

KEY_SECRET = "e4c1a7d2095b4f6e8d30b9c2f7a16588"
ACME = """
acme:
  issuer: https://id.example.com
  client_id: gatehouse
  client_secret: do not tell
"""


@pytest.fixture
def settings(tmp_path: Any) -> Callable[..., Settings]:
    def make(**values: Any) -> Settings:
        given = {"data_dir": tmp_path, "internal_secret": TEST_INTERNAL_SECRET, "key_secret": KEY_SECRET}
        return Settings.model_validate(given | values)

    return make


def test_providers_are_read_from_yaml_and_from_json() -> None:
    (acme,) = read_providers(ACME)
    as_json = '{"acme": {"issuer": "https://id.example.com", "client_id": "x", "client_secret": "y"}}'

    assert (acme.kind, acme.label, acme.callback) == ("oidc", "Acme", "/auth/callback/acme")
    assert (acme.trust_email, acme.domains, acme.scopes) == (False, (), "openid email profile")
    assert read_providers(as_json)[0].issuer == acme.issuer


def test_google_and_github_need_no_more_than_their_client(settings: Callable[..., Settings]) -> None:
    google = {"google_client_id": "g", "google_client_secret": "x"}
    github = {"github_client_id": "h", "github_client_secret": "y"}
    first, second = settings(**google, **github).identity_providers

    assert (first.issuer, first.trust_email, first.callback) == (GOOGLE, True, "/auth/callback")
    assert (second.kind, second.trust_email) == ("github", False)
    assert (second.issuer, second.api_url) == ("https://github.com/login/oauth", "https://api.github.com")


def test_issuer_of_google_can_be_another_one(settings: Callable[..., Settings]) -> None:
    providers = "google: {issuer: 'https://stand-in.example', client_id: x, client_secret: y}"
    (google,) = settings(
        providers=providers, google_client_id="g", google_client_secret="z"
    ).identity_providers

    assert (google.kind, google.issuer, google.client_id) == ("google", "https://stand-in.example", "x")


def test_secrets_are_masked(settings: Callable[..., Settings]) -> None:
    made = settings(providers=ACME, google_client_id="g", google_client_secret="do not tell")

    assert "do not tell" not in f"{made!r} {made.masked()}"


@pytest.mark.parametrize(
    ("providers", "fault"),
    [
        ("[]", "must map the name of each provider to its settings"),
        ("acme: x", "must map the name of each provider to its settings"),
        ("acme: {", "is not YAML, see line 1"),
        ("acme: {}", "acme.issuer is required; acme.client_id is required; acme.client_secret is required"),
        (f"{ACME}  more: 1", "acme.more is not a known field here; leave it out"),
        (ACME.replace("acme", "Acme"), "Acme.name must have 1 to 32 lower-case letters"),
        (ACME.replace("https", "ftp"), "acme.issuer must be a URL"),
        (ACME.replace(".com", ".com?x"), "acme.issuer must be a URL"),
        (f"{ACME}  kind: saml", "acme.kind must be one of oidc, google or github"),
        (f"{ACME}  kind: [saml]", "acme.kind must be one of oidc, google or github"),
        (ACME + ACME.replace("acme", "other"), "two providers have the same issuer"),
        ("x: {}\n" * 1 + "a: " + "x" * 70_000, "must have at most 65536 characters"),
        ("\n".join(f"a{number}: {{}}" for number in range(21)), "must have at most 20 providers"),
    ],
)
def test_fault_in_the_document_is_named_and_no_secret_is_repeated(
    settings: Callable[..., Settings], providers: str, fault: str
) -> None:
    with pytest.raises(ValidationError) as raised:
        settings(providers=providers)

    assert fault in str(raised.value)
    assert "do not tell" not in str(raised.value)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"google_client_id": "g"}, "GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET go together"),
        ({"github_client_secret": "g"}, "GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET go together"),
        ({"frontend_url": "app.example.com"}, "must be a URL like https://api.example.com"),
        ({"frontend_url": "javascript:alert(1)"}, "must be a URL like https://api.example.com"),
        (
            {"providers": ACME.replace("https", "http"), "environment": "production"},
            "acme.issuer must begin with https:// in production",
        ),
        (
            {"providers": ACME, "environment": "production", "oauth_issuer": ""},
            "providers need OAUTH_ISSUER or PUBLIC_URL",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    settings: Callable[..., Settings], values: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ValidationError) as raised:
        settings(**{"oauth_issuer": "https://api.example.com", **values})

    assert fault in str(raised.value)


def test_document_may_be_in_a_file(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "providers.yaml"
    for name, value in (("DATA_DIR", tmp_path), ("PROVIDERS_FILE", file), ("KEY_SECRET", KEY_SECRET)):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("INTERNAL_SECRET", TEST_INTERNAL_SECRET)
    file.write_text(ACME)
    (acme,) = Settings.load().identity_providers
    file.write_text(f"{ACME}  more: 1")

    assert acme.client_secret.get_secret_value() == "do not tell"
    with pytest.raises(SettingsFaults, match=r"PROVIDERS: acme\.more is not a known field") as raised:
        Settings.load()
    assert "do not tell" not in str(raised.value)
