"""Parameters of OAuth requests: form-encoded, each at most once (RFC 6749 section 3.1)."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote_plus

from services.auth.oauth.errors import invalid_client, invalid_request
from services.auth.tables import ID_CHARACTERS

PARAMETERS_MAX = 100
VALUE_CHARACTERS_MAX = 4000


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of a request; one without a value counts as omitted."""

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
        """Return the value of a parameter; refuse it if repeated or too long."""
        if name in self.repeated:
            raise invalid_request(f"{name} is given more than once.")
        value = self.values.get(name)
        if value is not None and (len(value) > characters_max or "\0" in value):
            raise invalid_request(f"{name} is longer than {characters_max} characters, or contains U+0000.")
        return value

    def token(self) -> str:
        """Return the parameter `token` without checks: a malformed token is just unknown."""
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
    """The credentials of a client; a public client has no secret."""

    client_id: str
    secret: str | None
    is_basic: bool

    @property
    def recordable_id(self) -> str | None:
        """The client's id for the audit log, if it looks like one."""
        is_one = len(self.client_id) == ID_CHARACTERS and self.client_id.isprintable()
        return self.client_id if is_one else None

    @classmethod
    def read(cls, authorization: str | None, parameters: Parameters) -> "ClientCredentials":
        """Read them from the Authorization header or the form; refuse both at once."""
        shown = parameters.get("client_id"), parameters.get("client_secret")
        if authorization is None:
            if shown[0] is None:
                raise invalid_client()
            return cls(shown[0], shown[1], is_basic=False)
        client_id, secret = _basic(authorization)
        if shown[1] is not None or shown[0] not in (None, client_id):
            raise invalid_request("The client authenticates in two ways; use only one.")
        return cls(client_id, secret, is_basic=True)


def _basic(authorization: str) -> tuple[str, str]:
    """Return client id and secret; each is form-encoded inside Basic (RFC 6749 section 2.3.1)."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode()
    except ValueError:
        raise invalid_client() from None
    name, colon, secret = decoded.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise invalid_client()
    return unquote_plus(name), unquote_plus(secret)
