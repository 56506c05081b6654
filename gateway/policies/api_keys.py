"""API keys of machine clients: which key a request carries, and whether it is valid.

A key contains 256 random bits, so one round of SHA-256 protects it: it can neither be guessed nor recovered
from the file. The id in front of these bits is for looking up the key and for identifying it in logs.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

from gateway import errors
from gateway.errors import Refusal
from gateway.http.headers import without
from gateway.request import RequestState
from shared.caller import Caller
from shared.errors import Problem
from shared.identity.revocations import Revocations

KEY = re.compile(rb"gatehouse_([0-9a-f]{16})_[0-9a-f]{64}")
ROLE = "client"  # no account has this role
CLIENT_HEADER, SCOPES_HEADER = b"x-gatehouse-client", b"x-gatehouse-scopes"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key as the file describes it."""

    id: str
    client: str
    sha256: str
    role: str = ROLE
    scopes: frozenset[str] = frozenset()
    expires: float = float("inf")


class KeyCaller(Caller):
    """A machine client that presented an API key."""

    __slots__ = ()

    @classmethod
    def of(cls, key: ApiKey) -> "KeyCaller":
        return cls(
            id=f"client:{key.client}",  # account ids never contain a colon
            role=key.role,
            username=None,
            email=None,
            session_id=None,
            scopes=key.scopes,
            is_limited=True,
            expires=key.expires,
            token_id=key.sha256,
            client_id=key.client,
            key_id=key.id,
        )


class ApiKeys:
    """All valid keys."""

    def __init__(self, keys: Iterable[ApiKey] = (), digest: str = "") -> None:
        self.digest = digest  # of the file, to detect changes
        self._callers = {key.id: KeyCaller.of(key) for key in keys}

    def __len__(self) -> int:
        return len(self._callers)

    def caller(self, shown: bytes) -> KeyCaller | None:
        """Return the client of this key; None if the key is unknown or expired."""
        found = KEY.fullmatch(shown)
        caller = None if found is None else self._callers.get(found[1].decode())
        expected = "" if caller is None else caller.token_id or ""
        is_right = hmac.compare_digest(hashlib.sha256(shown).hexdigest(), expected)
        return caller if caller is not None and is_right and caller.expires > time.time() else None

    def have_dropped(self, caller: Caller) -> bool:
        """Whether this caller's key was changed in the file or removed from it."""
        return isinstance(caller, KeyCaller) and self._callers.get(caller.key_id or "") != caller


NO_KEYS = ApiKeys()


def keys_shown(request: RequestState) -> list[bytes]:
    """Return the API keys in the headers of a request."""
    name = request.rules.api_key_header
    return [value.strip() for field_name, value in request.request.headers if field_name == name]


def caller_of(request: RequestState, api_keys: ApiKeys, revocations: Revocations) -> Caller | None:
    """Return the client whose API key the request carries. The key is not forwarded; the client's name is."""
    shown = keys_shown(request)
    if not shown:
        return None
    if b"authorization" in request.fields.seen:
        raise Refusal(errors.MALFORMED, "The request has a bearer token and an API key; send only one.")
    try:
        revocations.require_current()
    except Problem as error:
        raise Refusal.of(error, errors.UNAVAILABLE) from error
    caller = api_keys.caller(shown[0]) if len(shown) == 1 else None
    if caller is None or revocations.cover(caller):
        raise Refusal(errors.INVALID_API_KEY, headers={"WWW-Authenticate": "ApiKey"})
    passed = without(request.passed, request.rules.api_key_header)
    client, scopes = caller.client_id or "", " ".join(sorted(caller.scopes))
    for header, text in ((CLIENT_HEADER, client), (SCOPES_HEADER, scopes)):
        passed += (header, b": ", text.encode(), b"\r\n")
    request.passed = passed
    return caller
