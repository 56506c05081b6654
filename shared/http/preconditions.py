"""If-Match: a change is refused if the row has changed since the caller read it."""

from dataclasses import dataclass

from shared.errors import Stale


@dataclass(frozen=True, slots=True)
class IfMatch:
    """The versions a change may start from; any version if the header is missing or `*`."""

    tags: frozenset[str] | None

    @classmethod
    def parse(cls, header: str | None) -> "IfMatch":
        if header is None or header.strip() == "*":
            return cls(None)
        return cls(frozenset(tag.strip() for tag in header.split(",")))

    def check(self, version: int) -> None:
        """Raise Stale unless the row is still at one of these versions."""
        if self.tags is not None and etag(version) not in self.tags:
            raise Stale


def etag(version: int) -> str:
    return f'"{version}"'
