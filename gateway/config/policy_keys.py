"""The keys of a route beyond forwarding: header changes, security headers, addresses."""

import re
from collections.abc import Callable
from ipaddress import IPv6Network, ip_network

from gateway.config.yaml_values import Fault, Value, field
from gateway.http.headers import DROP, PASS, READ_AND_PASS, answer_rule, request_rule
from gateway.routing.addresses import AddressRule, Network
from gateway.routing.header_changes import PRESETS, Changes, HeaderPolicy, SecurityHeaders

KEYS = ("headers", "security_headers", "ip")
DIRECTION_KEYS = ("request", "response")
CHANGE_KEYS = ("set", "add", "remove")
ADDRESS_KEYS = ("allow", "deny")
# A key for each security header, and the header's name.
SECURITY_NAMES = {
    key: key.replace("_", "-")
    for key in (
        *("content_security_policy", "strict_transport_security", "referrer_policy", "permissions_policy"),
        *("cross_origin_opener_policy", "cross_origin_embedder_policy", "cross_origin_resource_policy"),
        *("x_content_type_options", "x_frame_options"),
    )
}
SECURITY_KEYS = ("preset", *SECURITY_NAMES)
Check = Callable[[bytes], bool]
FIELDS_MAX = 50
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^`|~-]{1,128}")  # no `_`: some servers treat it as `-`
HEADER_VALUE = re.compile(r"[!-~](?:[ -~]{0,4094}[!-~])?")


def headers(value: Value, base: HeaderPolicy) -> HeaderPolicy:
    keys = value.mapping(DIRECTION_KEYS)
    return HeaderPolicy(
        field(keys, "request", lambda each: _changes(each, base.request, _for_backend), base.request),
        field(keys, "response", lambda each: _changes(each, base.response, _for_client), base.response),
    )


def _changes(value: Value, base: Changes, check: Check) -> Changes:
    keys = value.mapping(CHANGE_KEYS)
    made = Changes(
        set=field(keys, "set", lambda each: _lines(each, check), base.set),
        add=field(keys, "add", lambda each: _lines(each, check), base.add),
        remove=field(keys, "remove", lambda each: _names(each, check), base.remove),
    )
    twice = _names_in(made.set) & {*made.remove, *_names_in(made.add)}
    if twice:
        raise Fault(f"sets {min(twice)!r} and also adds or removes it; `set` alone replaces existing headers")
    return made


def _lines(value: Value, check: Check) -> tuple[str, ...]:
    """Return `name: value` lines; a list of values gives several lines with the same name."""
    lines = []
    for name, each in value.pairs():
        texts = (each.text(),) if each.is_text else each.texts()
        for text in texts:
            _note_bad_value(each, text)
        lines += [f"{_name(each, name, check, is_written=True)}: {text}" for text in texts]
    return _few(tuple(lines))


def _names(value: Value, check: Check) -> tuple[str, ...]:
    return _few(
        tuple(_name(each, each.read(Value.text, ""), check, is_written=False) for each in value.items())
    )


def _few(found: tuple[str, ...]) -> tuple[str, ...]:
    if len(found) > FIELDS_MAX:
        raise Fault(f"may contain at most {FIELDS_MAX} header fields")
    return found


def _name(value: Value, name: str, check: Check, *, is_written: bool) -> str:
    lower = name.lower()
    if not HEADER_NAME.fullmatch(name):
        value.fault(f"{name!r} is not a valid header name (letters, digits and `-`)")
    elif not check(lower.encode()):
        value.fault(f"{name!r} is set by the gateway or is hop-by-hop, and cannot be changed here")
    elif is_written and lower == "authorization":
        value.fault("'Authorization' belongs to the caller; it can be removed, but not set")
    return lower


def _for_backend(name: bytes) -> bool:
    return request_rule(name) in (PASS, READ_AND_PASS)


def _for_client(name: bytes) -> bool:
    return answer_rule(name) != DROP


def _note_bad_value(value: Value, text: str) -> None:
    if not HEADER_VALUE.fullmatch(text):
        value.fault("must be printable ASCII on one line, at most 4,096 characters")


def _names_in(lines: tuple[str, ...]) -> set[str]:
    return {line.partition(": ")[0] for line in lines}


def security(value: Value) -> SecurityHeaders:
    """Read a preset, single headers, or both; `off` omits a header."""
    if value.is_text:
        preset = value.choice((*PRESETS, "off"))
        return SecurityHeaders(PRESETS.get(preset, ()))
    keys = value.mapping(SECURITY_KEYS)
    preset = field(keys, "preset", lambda each: each.choice(tuple(PRESETS)), "")
    lines = {line.partition(": ")[0]: line for line in PRESETS.get(preset, ())}
    for key, name in SECURITY_NAMES.items():
        if key not in keys:
            continue
        text = keys[key].read(Value.text, "off")
        lines.pop(name, None)
        if text != "off":
            _note_bad_value(keys[key], text)
            lines[name] = f"{name}: {text}"
    return SecurityHeaders(tuple(lines.values()))


def addresses(value: Value, base: AddressRule) -> AddressRule:
    keys = value.mapping(ADDRESS_KEYS)
    return AddressRule(field(keys, "allow", _networks, base.allow), field(keys, "deny", _networks, base.deny))


def _networks(value: Value) -> tuple[Network, ...]:
    found = (item.read(_network, None) for item in value.items())
    return tuple(network for network in found if network is not None)


def _network(value: Value) -> Network | None:
    text = value.text()
    try:
        network = ip_network(text)
    except ValueError:
        raise Fault(
            f"must be an address or a network such as 10.0.0.0/8, not {text!r}{_meant(text)}"
        ) from None
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise Fault(f"{text!r} contains IPv4 addresses; write it as an IPv4 network")
    return network


def _meant(text: str) -> str:
    """Suggest the network that an address with a prefix length was probably meant to be."""
    try:
        return f"; did you mean '{ip_network(text, strict=False)}'?"
    except ValueError:
        return ""
