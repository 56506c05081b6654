"""The metadata of the OAuth server (RFC 8414, OpenID Connect Discovery)."""

from typing import Any

from services.auth.clients.scopes import OPENID, SCOPES
from services.auth.oauth.authorization import RESPONSE_MODES
from services.auth.oauth.device import GRANT
from services.auth.oauth.issuer import Issuer

_CLIENT_METHODS = ["client_secret_basic", "client_secret_post"]
CLAIMS = (
    "sub iss aud exp iat auth_time nonce acr amr sid name given_name family_name preferred_username email"
)


def metadata(issuer: Issuer) -> dict[str, Any]:
    """Build the metadata document, listing only what is available."""
    url = issuer.url
    scopes = [name for name in SCOPES if issuer.has_identity or name != OPENID]
    document: dict[str, Any] = {
        "issuer": url,
        "authorization_endpoint": f"{url}/oauth/authorize",
        "token_endpoint": f"{url}/oauth/token",
        "revocation_endpoint": f"{url}/oauth/revoke",
        "introspection_endpoint": f"{url}/oauth/introspect",
        "jwks_uri": f"{url}/.well-known/jwks.json",
        "scopes_supported": scopes,
        "response_types_supported": ["code"],
        "response_modes_supported": [*RESPONSE_MODES],
        "device_authorization_endpoint": f"{url}/oauth/device_authorization",
        "pushed_authorization_request_endpoint": f"{url}/oauth/par",
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials", GRANT],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": [*_CLIENT_METHODS, "none"],
        "revocation_endpoint_auth_methods_supported": [*_CLIENT_METHODS, "none"],
        "introspection_endpoint_auth_methods_supported": _CLIENT_METHODS,
        "authorization_response_iss_parameter_supported": True,
    }
    if issuer.has_identity:
        document |= {
            "userinfo_endpoint": f"{url}/oauth/userinfo",
            "end_session_endpoint": f"{url}/oauth/logout",
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "claims_supported": [*CLAIMS.split(), "email_verified", "updated_at"],
            "prompt_values_supported": ["none", "login", "consent", "select_account"],
            "acr_values_supported": ["1", "2"],
            "claims_parameter_supported": False,
            "request_parameter_supported": False,
            "request_uri_parameter_supported": False,
        }
    return document
