"""The Range header (RFC 9110, section 14): the requested part of a file."""

import re
from collections.abc import Sequence

from shared.errors import Problem

RANGES_MAX = 16
HEADER_CHARACTERS_MAX = 1024
_SPEC = re.compile(r"(\d{0,19})-(\d{0,19})")

Span = tuple[int, int]  # first byte, and the one after the last


class RangeNotSatisfiable(Problem):
    """The requested range begins past the end of the file; Content-Range gives its size."""

    status = 416
    code = "range_not_satisfiable"


def wanted(header: str | None, size: int) -> list[Span] | None:
    """Return the requested spans, merged where they touch; None to send the whole file.

    An invalid header is ignored, as the standard requires. So is one with so many or such large ranges that
    sending the whole file is less work.
    """
    unit, _, specs = (header or "").partition("=")
    if (
        unit.strip().lower() != "bytes"
        or len(specs) > HEADER_CHARACTERS_MAX
        or specs.count(",") >= RANGES_MAX
    ):
        return None
    spans = []
    for spec in filter(None, (one.strip() for one in specs.split(","))):
        span = _span(spec, size)
        if span is None:
            return None
        spans.append(span)
    if not spans:
        return None
    satisfiable = [span for span in spans if span[0] < span[1]]
    if not satisfiable:
        raise RangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
    return _joined(satisfiable) if sum(end - start for start, end in satisfiable) <= size else None


def _span(spec: str, size: int) -> Span | None:
    match = _SPEC.fullmatch(spec)
    if match is None or spec == "-":
        return None
    first, last = match.groups()
    if not first:  # a suffix: the last bytes
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


def _joined(spans: Sequence[Span]) -> list[Span]:
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return joined
