"""The choice between the two forms of an invoice, by the Accept header (RFC 9110, section 12.5.1)."""

import re

PDF, JSON = "application/pdf", "application/json"
_RANGE = re.compile(r"\s*([^\s;,]+)\s*(?:;\s*q=([01](?:\.\d{0,3})?))?[^,]*", re.IGNORECASE)


def prefers_json(accept: str) -> bool:
    """Whether JSON is wanted more than PDF; at equal quality, the type that is named wins."""
    ranges = {name.lower(): float(quality or 1) for name, quality in _RANGE.findall(accept[:1000])}
    return _rank(ranges, JSON) > _rank(ranges, PDF)


def _rank(ranges: dict[str, float], media_type: str) -> tuple[float, int]:
    """Return the quality of a type, and how exactly the header names it."""
    for exactness, name in ((2, media_type), (1, "application/*"), (0, "*/*")):
        if ranges.get(name):
            return ranges[name], exactness
        if name in ranges:  # with quality 0, which refuses it
            break
    return 0.0, 0
