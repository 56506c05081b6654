"""Parameters of OAuth requests: form-encoded, each at most once (RFC 6749 section 3.1)."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote_plus

from services.auth.oauth.errors import invalid_client, invalid_request

PARAMETERS_MAX = 100
VALUE_CHARACTERS_MAX = 4000


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a request gives; a parameter without a value counts as left out."""

    values: Mapping[str, str]
    repeated: frozenset[str] = frozenset()

    @classmethod
    def read(cls, text: str) -> "Parameters":
        if text.count("&") >= PARAMETERS_MAX:
            raise invalid_request(f"There are more than {PARAMETERS_MAX} parameters.")
        try:
            pairs = parse_qsl(text, keep_blank_values=True, errors="strict")
        except UnicodeDecodeError as error:
            raise invalid_request("The parameters are not UTF-8.") from error
        names = [name for name, _ in pairs]
        repeated = frozenset(name for name in names if names.count(name) > 1)
        return cls({name: value for name, value in pairs if value}, repeated)

    def get(self, name: str, characters_max: int = VALUE_CHARACTERS_MAX) -> str | None:
        """The value of a parameter, if it is given once and is not too long."""
        if name in self.repeated:
            raise invalid_request(f"{name} is given more than once.")
        value = self.values.get(name)
        if value is not None and (len(value) > characters_max or "\0" in value):
            raise invalid_request(f"{name} is longer than {characters_max} characters, or has U+0000 in it.")
        return value

    def token(self) -> str:
        """The token of a request about one; whatever it looks like, it is only unknown."""
        if "token" in self.repeated or "token" not in self.values:
            raise invalid_request("token must be given once.")
        return self.values["token"]

    def require(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise invalid_request(f"{name} is missing.")
        return value


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """How a client says who it is; without a secret it is a public one."""

    client_id: str
    secret: str | None
    is_basic: bool

    @classmethod
    def read(cls, authorization: str | None, parameters: Parameters) -> "ClientCredentials":
        """Those of the Authorization header or of the form; both at once are refused."""
        shown = parameters.get("client_id"), parameters.get("client_secret")
        if authorization is None:
            if shown[0] is None:
                raise invalid_client()
            return cls(shown[0], shown[1], is_basic=False)
        client_id, secret = _basic(authorization)
        if shown[1] is not None or shown[0] not in (None, client_id):
            raise invalid_request("The client authenticates in two ways; use one of them.")
        return cls(client_id, secret, is_basic=True)


def _basic(authorization: str) -> tuple[str, str]:
    """Name and secret, each form-encoded before they were joined (RFC 6749 section 2.3.1)."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode()
    except ValueError:
        raise invalid_client() from None
    name, colon, secret = decoded.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise invalid_client()
    return unquote_plus(name), unquote_plus(secret)
