"""The configuration of the providers that users can sign in with."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError

from shared.words import pattern, words_of

PROVIDERS_MAX = 20
DOCUMENT_CHARACTERS_MAX = 64 * 1024
GOOGLE = "https://accounts.google.com"
GITHUB = "https://github.com/login/oauth"
GITHUB_API = "https://api.github.com"
_NAME = pattern(
    r"^[a-z][a-z0-9-]{0,31}$", "must have 1 to 32 lower-case letters, digits or -, for example google"
)
_URL = pattern(
    r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?$",
    "must be a URL like https://id.example.com, without query or fragment",
)

Url = Annotated[str, StringConstraints(pattern=_URL, max_length=500)]
Domain = Annotated[str, StringConstraints(to_lower=True, min_length=1, max_length=253)]
_DEFAULTS: dict[str, dict[str, Any]] = {
    "google": {"label": "Google", "issuer": GOOGLE, "trust_email": True},
    "github": {"label": "GitHub", "issuer": GITHUB, "scopes": "read:user user:email"},
    "oidc": {},
}


class Provider(BaseModel):
    """One provider. Its name is part of its callback URL."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: Annotated[str, StringConstraints(pattern=_NAME)]
    kind: Literal["oidc", "google", "github"] = "oidc"
    label: Annotated[str, StringConstraints(min_length=1, max_length=50)]
    issuer: Url
    api_url: Url = GITHUB_API  # of GitHub alone
    client_id: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    client_secret: Annotated[SecretStr, Field(min_length=1, max_length=1000)]
    scopes: Annotated[str, StringConstraints(min_length=1, max_length=500)] = "openid email profile"
    trust_email: bool = False  # whether an address that it calls verified counts as verified here
    domains: tuple[Domain, ...] = ()  # only people of these domains
    short_callback: bool = False  # /auth/callback instead of /auth/callback/{name}

    @property
    def callback(self) -> str:
        return "/auth/callback" if self.short_callback else f"/auth/callback/{self.name}"


def read_providers(text: str) -> tuple[Provider, ...]:
    """Read the providers of a YAML or JSON document; ValueError lists all faults and contains no values."""
    import yaml

    if len(text) > DOCUMENT_CHARACTERS_MAX:
        raise ValueError(f"must have at most {DOCUMENT_CHARACTERS_MAX} characters")
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        raise ValueError(f"is not YAML{f', see line {mark.line + 1}' if mark else ''}") from None
    if not isinstance(document, dict) or not all(isinstance(one, dict) for one in document.values()):
        raise ValueError("must map the name of each provider to its settings")
    if len(document) > PROVIDERS_MAX:
        raise ValueError(f"must have at most {PROVIDERS_MAX} providers")
    found, faults = [], []
    for name, fields in document.items():
        try:
            found.append(made(str(name), fields))
        except ValidationError as error:
            faults += [f"{name}.{_place(fault['loc'])} {words_of(fault)}" for fault in error.errors()]
    if faults:
        raise ValueError("; ".join(faults))
    return tuple(found)


def made(name: str, fields: dict[str, Any]) -> Provider:
    """Build a provider with the defaults of its kind; the names google and github imply their kind."""
    kind = fields.get("kind", name if name in _DEFAULTS else "oidc")
    defaults = _DEFAULTS.get(kind, {}) if isinstance(kind, str) else {}
    label = name.replace("-", " ").capitalize() or name
    return Provider.model_validate({"label": label, **defaults, "kind": kind, **fields, "name": name})


def faults_together(providers: Sequence[Provider], *, production: bool) -> str | None:
    """Return what is wrong with these providers in combination, or in production."""
    for what, values in (
        ("name", [one.name for one in providers]),
        ("issuer", [one.issuer for one in providers]),
        ("callback", [one.callback for one in providers]),
    ):
        if len(set(values)) < len(values):
            return f"two providers have the same {what}"
    plain = [one.name for one in providers if production and not one.issuer.startswith("https://")]
    return f"{plain[0]}.issuer must begin with https:// in production" if plain else None


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location))
