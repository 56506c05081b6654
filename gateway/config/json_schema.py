"""The JSON Schema of routes files, for editors, generated from the keys and patterns that validate them.

It describes single values; only `gatehouse routes check` finds conflicts between entries.
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from gateway.config import claim_keys, limit_keys, policy_keys, routes_file, upstream_keys, yaml_values
from gateway.routing import header_changes
from gateway.routing.table import Timeouts
from gateway.routing.upstreams import Breaker, Ejection, HealthCheck, PoolLimits

Schema = dict[str, Any]

VARIABLE: Schema = {"type": "string", "pattern": r"\$\{[^}]*\}"}
ABOUT = {
    "routes": "What is forwarded: one entry per path.",
    "defaults": "Policies of every route that does not override them.",
    "cors": "The other origins whose pages may call the API.",
    "aliases": "Alternative paths: the path is replaced once and then matched against the routes.",
    "path": "A prefix on a segment boundary. In routes, a segment may be a {parameter}.",
    "backend": "Where the service listens: http://host:port.",
    "backends": "Several equivalent targets, each a URL or {url, weight}.",
    "balance": "p2c: the less busy of two random targets (default). round_robin: in turn.",
    "retry": "Retries, by method and phase, within a budget.",
    "pool": "Idle connections to each target.",
    "breaker": "How many requests one target may have in progress, and how many may wait.",
    "ejection": "When a target that does not respond is ejected.",
    "health": "Check each target at intervals; off by default.",
    "split": "Other targets for a share of the callers, or for those that send a certain header.",
    "weight": "A target's share of the requests (0 drains it); in a split, a share of the callers: 5%.",
    "name": "Label in metrics and logs; default: the path.",
    "hosts": "Only requests for these hosts; *.example matches all of its subdomains.",
    "exact": "This path alone, and nothing below it.",
    "strip": "The backend receives only what follows the path.",
    "rewrite": "The path that the backend receives instead; may contain the {parameter}s of `path`.",
    "methods": "Other methods are refused with 405. GET includes HEAD.",
    "auth": "required (default): a valid token. optional: checked if there is one. none: open.",
    "roles": "The caller needs one of these roles.",
    "scopes": "The caller needs all of these scopes.",
    "api_keys": "true: an API key is accepted instead of a token. For backends that do not verify tokens.",
    "claims": "Claims that the token must have: for each name, a value or a list of allowed values.",
    "rate_limit": "How many requests one caller may make. In a list, all limits apply.",
    "concurrency": "How many requests and open sockets one caller may have at the same time.",
    "max": "The maximum number at the same time.",
    "store": "shared (default): counted across all gateways if REDIS_URL is set. local: in each process.",
    "rate": "Such as 100/s or 20/m.",
    "burst": "How many at once; default: one second's worth of the rate.",
    "key": "What to count by: user (without a token: the address), ip, client, route, or several: user+ip.",
    "timeout": "One timeout per phase, so that long streams are possible.",
    "body_max": "Such as 10MiB; counted while the body streams.",
    "to": "The path that replaces `path`.",
    "envelope": "Wrap JSON responses in {success, message, data, meta, errors}.",
    "origins": "Such as https://app.example, http://localhost:* or *.",
    "headers": "Request headers a page may set.",
    "credentials": "Whether browsers may send cookies and Authorization.",
    "request": "Changes to the headers that the backend receives.",
    "response": "Changes to the headers of its responses.",
    "set": "Replaces headers of this name.",
    "add": "Adds a header of this name.",
    "remove": "Removes headers of this name.",
    "security_headers": "Security headers of each response, unless the backend sends its own.",
    "preset": "A preset: api (responses that no page displays) or site (pages).",
    "ip": "Which client addresses are allowed; trusted proxies supply the client's address.",
    "allow": "Only these addresses.",
    "deny": "Takes precedence over allow.",
    "max_age": "How long a browser may cache the preflight response.",
}


def schema() -> Schema:
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Gatehouse routes",
        **_mapping(routes_file.FILE_KEYS, _FILE, required=["routes"]),
    }


def text() -> str:
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _mapping(keys: Collection[str], values: Mapping[str, Schema], required: Collection[str] = ()) -> Schema:
    described = {key: {"description": ABOUT[key]} if key in ABOUT else {} for key in keys}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {key: {**described[key], **values[key]} for key in keys},
        **({"required": list(required)} if required else {}),
    }


def _settings(made: type, **values: Schema) -> Schema:
    """Return the schema of a mapping, built from the fields of the class it is parsed into."""
    return _mapping([field.name for field in fields(made)], values)


def _matching(pattern: re.Pattern[str]) -> Schema:
    return _or_variable({"type": "string", "pattern": f"^(?:{pattern.pattern})$"})


def _word(pattern: re.Pattern[str]) -> Schema:
    # The validator accepts `7` and `true` as words; YAML parsers read them as other types.
    return {"anyOf": [*_matching(pattern)["anyOf"], {"type": "number", "minimum": 0}, {"type": "boolean"}]}


def _one_of(words: Collection[str]) -> Schema:
    return _or_variable({"enum": list(words)})


def _or_variable(*shapes: Schema) -> Schema:
    return {"anyOf": [*shapes, VARIABLE]}


def _list(item: Schema, at_least: int = 0, at_most: int = 0) -> Schema:
    fewest = {"minItems": at_least} if at_least else {}
    return {"type": "array", "items": item, **fewest, **({"maxItems": at_most} if at_most else {})}


_TEXT: Schema = {"type": ["string", "number", "boolean"]}
_BOOLEAN = _or_variable({"type": "boolean"}, {"enum": ["true", "false"]})
_COUNT = _or_variable({"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+$"})
_WHOLE = _or_variable({"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^0*[1-9][0-9]*$"})
_SIZE = _or_variable(
    {"type": "integer", "minimum": 0}, {"type": "string", "pattern": f"^(?:{yaml_values.SIZE.pattern})$"}
)
_DURATION = _matching(yaml_values.DURATION)
_PERCENT = _matching(yaml_values.PERCENT)
_RANGE = _or_variable(
    {
        "type": "string",
        "pattern": rf"^(?:{yaml_values.DURATION.pattern})(?:\s*\.\.\s*(?:{yaml_values.DURATION.pattern}))?$",
    }
)
_PATH, _PATTERN = _matching(routes_file.PATH), _matching(routes_file.PATTERN)
_CORS = _mapping(
    routes_file.CORS_KEYS,
    {
        "origins": _list(_matching(routes_file.ORIGIN)),
        "methods": _list(_TEXT),
        "headers": _list(_TEXT),
        "credentials": _BOOLEAN,
        "max_age": _DURATION,
    },
)
_RATE_LIMIT = _mapping(
    limit_keys.RATE_LIMIT_KEYS,
    {
        "rate": _matching(yaml_values.RATE),
        "burst": _WHOLE,
        "key": _matching(limit_keys.KEY),
        "store": _one_of(limit_keys.STORES),
    },
)
_RATE_LIMITS = {
    "anyOf": [_RATE_LIMIT, _list({**_RATE_LIMIT, "required": ["rate"]}, 1, limit_keys.LIMITS_MAX)]
}
_CONCURRENCY = _or_variable(
    {"enum": ["off"]},
    _mapping(
        limit_keys.CONCURRENCY_KEYS, {"max": _WHOLE, "key": _matching(limit_keys.KEY)}, required=["max"]
    ),
)
_BACKEND = _or_variable({"type": "string", "pattern": "^http://[^/?#@]+/?$"})
_SHARE = _mapping(upstream_keys.SHARE_KEYS, {"url": _BACKEND, "weight": _COUNT}, required=["url"])
_BACKENDS = _list({"anyOf": [*_BACKEND["anyOf"], _SHARE]}, 1)
_RETRY = _mapping(
    upstream_keys.RETRY_KEYS, {"attempts": _COUNT, "budget": _PERCENT, "backoff": _RANGE, "buffer": _SIZE}
)
_HEALTH_PATH = _matching(upstream_keys.HEALTH_PATH)
_CARE: dict[str, Schema] = {
    "pool": _settings(PoolLimits, max_idle=_COUNT, idle=_DURATION, max_age=_DURATION),
    "breaker": _settings(Breaker, max_requests=_WHOLE, max_pending=_COUNT),
    "ejection": _settings(Ejection, failures=_COUNT, window=_DURATION, time=_DURATION, time_max=_DURATION),
    "health": _or_variable(
        {"enum": ["off"]},
        _settings(HealthCheck, path=_HEALTH_PATH, every=_DURATION, timeout=_DURATION, up=_WHOLE, down=_WHOLE),
    ),
}
_SPLIT = {
    **_mapping(
        upstream_keys.SPLIT_KEYS,
        {"backends": _BACKENDS, "weight": _PERCENT, "header": {"type": "string", "pattern": ":"}},
        required=["backends"],
    ),
    "anyOf": [{"required": ["weight"]}, {"required": ["header"]}],
}
_HEADER_NAME, _HEADER_VALUE = (
    # YAML parsers read some header names and values as numbers or booleans; the validator takes them as text.
    {"anyOf": [*_matching(pattern)["anyOf"], {"type": ["number", "boolean"]}]}
    for pattern in (policy_keys.HEADER_NAME, policy_keys.HEADER_VALUE)
)
_FIELDS: Schema = {
    "type": "object",
    "propertyNames": {"pattern": f"^(?:{policy_keys.HEADER_NAME.pattern})$"},
    "additionalProperties": {"anyOf": [_HEADER_VALUE, _list(_HEADER_VALUE)]},
}
_CHANGES = _mapping(policy_keys.CHANGE_KEYS, {"set": _FIELDS, "add": _FIELDS, "remove": _list(_HEADER_NAME)})
_HEADERS = {
    **_mapping(policy_keys.DIRECTION_KEYS, {"request": _CHANGES, "response": _CHANGES}),
    "description": "Header fields to set, add and remove.",
}
_SECURITY_HEADERS: Schema = {
    "anyOf": [
        *_one_of((*header_changes.PRESETS, "off"))["anyOf"],
        _mapping(
            policy_keys.SECURITY_KEYS,
            {
                "preset": _one_of(tuple(header_changes.PRESETS)),
                **dict.fromkeys(policy_keys.SECURITY_NAMES, _HEADER_VALUE),
            },
        ),
    ]
}
_NETWORKS = _list({"type": "string"})
_PLAIN = _or_variable(
    {"type": "string", "minLength": 0}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
)
_CLAIMS: Schema = {
    "type": "object",
    "propertyNames": {
        "pattern": f"^(?:{claim_keys.NAME.pattern})$",
        "not": {"enum": [*claim_keys.ELSEWHERE]},
    },
    "additionalProperties": {"anyOf": [*_PLAIN["anyOf"], _list(_PLAIN, 1, claim_keys.VALUES_MAX)]},
}
_TIMEOUTS = [field.name for field in fields(Timeouts)]
_POLICY: dict[str, Schema] = {
    "methods": _list(_one_of(routes_file.METHODS), 1),
    "auth": _one_of(routes_file.AUTH),
    "roles": _list(_TEXT),
    "scopes": _list(_TEXT),
    "api_keys": _BOOLEAN,
    "claims": _CLAIMS,
    "rate_limit": _RATE_LIMITS,
    "concurrency": _CONCURRENCY,
    "timeout": _mapping(_TIMEOUTS, dict.fromkeys(_TIMEOUTS, _DURATION)),
    "body_max": _SIZE,
    "cors": _CORS,
    "headers": _HEADERS,
    "security_headers": _SECURITY_HEADERS,
    "ip": _mapping(policy_keys.ADDRESS_KEYS, {"allow": _NETWORKS, "deny": _NETWORKS}),
    "balance": _one_of(upstream_keys.BALANCE),
    "retry": _RETRY,
    **_CARE,
}
_ROUTE: dict[str, Schema] = {
    "path": _PATTERN,
    "backend": _BACKEND,
    "backends": _BACKENDS,
    "split": _SPLIT,
    "name": _word(routes_file.NAME),
    "hosts": _list(_word(routes_file.HOST), 1),
    "exact": _BOOLEAN,
    "strip": _BOOLEAN,
    "rewrite": _PATTERN,
    **_POLICY,
}
_ALIAS = {"path": _PATH, "to": _PATH, "envelope": _one_of(routes_file.ENVELOPES)}
_FILE = {
    "routes": _list(
        {
            **_mapping(routes_file.ROUTE_KEYS, _ROUTE, required=["path"]),
            "oneOf": [{"required": ["backend"]}, {"required": ["backends"]}],
        }
    ),
    "defaults": _mapping(routes_file.POLICY_KEYS, _POLICY),
    "cors": _CORS,
    "aliases": _list(_mapping(routes_file.ALIAS_KEYS, _ALIAS, required=["path", "to"])),
}
