"""Finds the route of a path; the cost depends on the length of the path, not on the number of routes."""

from typing import Generic, TypeVar

T = TypeVar("T")


class _Node(Generic[T]):
    """The possible continuations after one segment."""

    __slots__ = ("below", "here", "literal", "parameter")

    def __init__(self) -> None:
        self.literal: dict[bytes, _Node[T]] = {}
        self.parameter: _Node[T] | None = None
        self.here: T | None = None  # for exactly this path
        self.below: T | None = None  # for this path and everything below it


class Places(Generic[T]):
    """Path patterns and the entry stored under each of them.

    The most specific pattern wins. Segment by segment from the left, a literal beats a `{parameter}`, which
    beats the end of a prefix; an exact pattern beats a prefix of the same path.
    """

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._depth = 0

    def add(self, pattern: bytes, entry: T, *, exact: bool = False) -> None:
        node, parts = self._root, segments(pattern)
        for part in parts:
            if is_parameter(part):
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.literal.setdefault(part, _Node())
        if exact:
            node.here = entry
        else:
            node.below = entry
        self._depth = max(self._depth, len(parts))

    def find(self, path: bytes) -> T | None:
        # A path may have a million segments; no pattern looks further than the deepest one.
        parts = [] if path == b"/" else path.split(b"/", self._depth + 1)[1:]
        node, found = self._root, None
        for part in parts:
            if node.parameter is not None:
                return _find(self._root, parts, 0)  # a literal may lead to nothing, and have to be given up
            if node.below is not None:
                found = node.below
            following = node.literal.get(part)
            if following is None:
                return found
            node = following
        last = node.below if node.here is None else node.here
        return found if last is None else last


def _find(node: _Node[T], parts: list[bytes], position: int) -> T | None:
    if position == len(parts):
        return node.below if node.here is None else node.here
    part = parts[position]
    literal = node.literal.get(part)
    if literal is not None:
        found = _find(literal, parts, position + 1)
        if found is not None:
            return found
    if node.parameter is not None and part:
        found = _find(node.parameter, parts, position + 1)
        if found is not None:
            return found
    return node.below


def segments(pattern: bytes) -> list[bytes]:
    return [] if pattern == b"/" else pattern.split(b"/")[1:]


def is_parameter(segment: bytes) -> bool:
    return segment.startswith(b"{")


def shape(pattern: bytes) -> bytes:
    """Return the pattern without parameter names: equal for patterns that match the same paths."""
    return b"/" + b"/".join(b"{}" if is_parameter(part) else part for part in segments(pattern))
