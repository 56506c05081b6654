"""What a statement costs: steps of SQLite's virtual machine, and rows that PostgreSQL reads."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import Connection

from shared.data.database import execute_in_driver

STEPS = 50  # of SQLite's virtual machine, between two calls


class Watched:
    """Records the statements executed for a request, and SQLite's steps."""

    def __init__(self, engine: Engine) -> None:
        self.statements: list[tuple[str, Any]] = []
        self.steps = 0
        event.listen(engine, "before_cursor_execute", self._executes)

    def _executes(
        self, _connection: Connection, _cursor: Any, statement: str, parameters: Any, *_: Any
    ) -> None:
        self.statements.append((statement, parameters))

    def in_driver(self, connection: Connection, statement: str, parameters: Any) -> Any:
        """Replace the function that bypasses SQLAlchemy, to record its statements."""
        self.statements.append((statement, parameters))
        return execute_in_driver(connection, statement, parameters)

    def step(self) -> int:
        self.steps += STEPS
        return 0

    def forget(self) -> None:
        self.statements, self.steps = [], 0


def nodes_of(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the nodes of a plan of PostgreSQL."""
    yield node
    for below in node.get("Plans", ()):
        yield from nodes_of(below)


def rows_read(root: dict[str, Any]) -> int:
    """Return the number of rows that all scans of a plan of EXPLAIN ANALYZE have read."""
    return sum(_rows_read(node) for node in nodes_of(root) if "Scan" in node["Node Type"])


def _rows_read(node: dict[str, Any]) -> int:
    removed = sum(value for name, value in node.items() if name.startswith("Rows Removed by"))
    rows: int = node["Actual Loops"] * (node["Actual Rows"] + removed)
    return rows
