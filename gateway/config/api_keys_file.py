"""The API key file, which contains digests of keys. It is read like routes.yaml and reloaded with it."""

import hashlib
import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from gateway.config.routes_file import RoutesFileError, read
from gateway.config.yaml_values import Fault, Faults, Value, compose, field
from gateway.policies.api_keys import ROLE, ApiKey, ApiKeys

FILE_KEYS = ("keys",)
ENTRY_KEYS = ("id", "client", "sha256", "role", "scopes", "expires")
KEYS_MAX = 4_000
_ID = re.compile(r"[0-9a-f]{16}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
CLIENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SCOPE = re.compile(r"[!#-\[\]-~]{1,200}")


def load(file: Path) -> ApiKeys:
    """Read the whole file, or raise RoutesFileError with every fault in it."""
    return parse(read(file, "API_KEYS_FILE"), str(file))


def parse(text: str, file: str) -> ApiKeys:
    faults = Faults(file)
    root = compose(text, faults)
    nothing: tuple[ApiKey, ...] = ()
    keys = nothing if root is None else root.read(_keys, nothing)
    if faults.in_order():
        raise RoutesFileError(*faults.in_order())
    return ApiKeys(keys, hashlib.sha256(text.encode()).hexdigest())


def _keys(root: Value) -> tuple[ApiKey, ...]:
    entries = root.mapping(FILE_KEYS)
    if "keys" not in entries:
        raise Fault("has no `keys:`")
    nothing: tuple[ApiKey, ...] = ()
    return field(entries, "keys", _entries, nothing)


def _entries(value: Value) -> tuple[ApiKey, ...]:
    found: dict[str, ApiKey] = {}
    for item in value.items():
        key = item.read(_key, None)
        if key is not None and key.id in found:
            item.fault(f"the id {key.id!r} is given twice")
        elif key is not None:
            found[key.id] = key
    if len(found) > KEYS_MAX:
        raise Fault(f"contains more than {KEYS_MAX} keys")
    return tuple(found.values())


def _key(value: Value) -> ApiKey | None:
    keys = value.mapping(ENTRY_KEYS)
    for name in ("id", "client", "sha256"):
        if name not in keys:
            value.fault(f"has no `{name}:`; create keys with `gatehouse keys new`")
    return ApiKey(
        id=field(keys, "id", lambda each: _matching(each, _ID, "16 hexadecimal digits"), ""),
        client=field(keys, "client", lambda each: _matching(each, CLIENT, "a name such as billing"), ""),
        sha256=field(keys, "sha256", lambda each: _matching(each, _DIGEST, "64 hexadecimal digits"), ""),
        role=field(keys, "role", lambda each: _matching(each, CLIENT, "a role such as client"), ROLE),
        scopes=field(keys, "scopes", _scopes, frozenset[str]()),
        expires=field(keys, "expires", _expires, float("inf")),
    )


def _matching(value: Value, pattern: re.Pattern[str], words: str) -> str:
    text = value.text()
    if not pattern.fullmatch(text):
        raise Fault(f"must be {words}")  # not quoted: the text may be a secret
    return text


def _scopes(value: Value) -> frozenset[str]:
    return frozenset(
        item.read(lambda each: _matching(each, SCOPE, "a scope such as orders:read"), "")
        for item in value.items()
    )


def _expires(value: Value) -> float:
    try:
        moment = datetime.fromisoformat(value.text())
    except ValueError:
        moment = datetime.min  # noqa: DTZ901 - refused below, like any timestamp without a time zone
    if moment.tzinfo is None:
        raise Fault("must be a time with a time zone, such as 2027-01-31T00:00:00Z")
    return moment.timestamp()


def new_key(client: str, role: str, scopes: Iterable[str], expires: datetime | None) -> tuple[str, str]:
    """Return a new key, and the file entry that makes it valid; the key itself is not stored."""
    key_id = secrets.token_hex(8)
    key = f"gatehouse_{key_id}_{secrets.token_hex(32)}"
    lines = [
        f"  - id: {_quoted(key_id)}",
        f"    client: {_quoted(client)}",
        f"    sha256: {_quoted(hashlib.sha256(key.encode()).hexdigest())}",
        f"    role: {_quoted(role)}",
        f"    scopes: [{', '.join(map(_quoted, sorted(scopes)))}]",
    ]
    if expires is not None:
        lines.append(f"    expires: {_quoted(expires.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%SZ'))}")
    return key, "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    # Always quoted: YAML does not read a bare `1e10` or `true` as a string.
    return "'" + text.replace("'", "''") + "'"
