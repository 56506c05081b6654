"""Metadata of OpenID providers (OpenID Connect Discovery 1.0)."""

from dataclasses import dataclass
from typing import Any

from services.auth.providers.documents import fetch_object
from services.auth.providers.id_tokens import ALGORITHMS
from services.auth.providers.refusals import untrusted
from shared.peers.outbound import BadAddress, Outbound, read_url

PATH = "/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class Metadata:
    """The checked values of a discovery document."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    algorithms: frozenset[str]
    sends_issuer: bool  # RFC 9207: its responses name the issuer, so one that does not is refused
    takes_basic: bool


async def discover(outbound: Outbound, issuer: str) -> Metadata:
    return read_metadata(await fetch_object(outbound, issuer.rstrip("/") + PATH), issuer)


def read_metadata(document: dict[str, Any], issuer: str) -> Metadata:
    """Return the metadata of this issuer. Documents of other issuers and incomplete ones are refused."""
    if document.get("issuer") != issuer:
        raise untrusted("metadata_of_another_issuer")
    types = document.get("response_types_supported", ["code"])
    if not isinstance(types, list) or "code" not in types:
        raise untrusted("metadata_without_code_flow")
    algorithms = document.get("id_token_signing_alg_values_supported", ["RS256"])
    usable = ALGORITHMS.intersection(_words(algorithms))
    if not usable:
        raise untrusted("metadata_without_usable_algorithm")
    methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    is_secure = issuer.startswith("https://")
    userinfo = document.get("userinfo_endpoint")
    return Metadata(
        authorization_endpoint=_url(document.get("authorization_endpoint"), is_secure=is_secure),
        token_endpoint=_url(document.get("token_endpoint"), is_secure=is_secure),
        jwks_uri=_url(document.get("jwks_uri"), is_secure=is_secure),
        userinfo_endpoint=None if userinfo is None else _url(userinfo, is_secure=is_secure),
        algorithms=usable,
        sends_issuer=document.get("authorization_response_iss_parameter_supported") is True,
        takes_basic="client_secret_basic" in _words(methods),
    )


def _url(value: Any, *, is_secure: bool) -> str:
    """Return the URL of an endpoint, which must use TLS if the issuer does."""
    if not isinstance(value, str):
        raise untrusted("metadata_without_endpoint")
    try:
        parts = read_url(value)
    except BadAddress as error:
        raise untrusted("metadata_with_bad_endpoint") from error
    if parts.fragment or (is_secure and parts.scheme != "https"):
        raise untrusted("metadata_with_bad_endpoint")
    return value


def _words(value: Any) -> set[str]:
    return {one for one in value if isinstance(one, str)} if isinstance(value, list) else set()
