"""The servers of the benches of events."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.bench.processes import LOAD_CORE, SERVER_CORE, Server, stopping


def sink(folder: Path) -> AbstractContextManager[Server]:
    """Start a subscriber that accepts and discards every event, on the core of the load."""
    return running("tests.bench.events.sink", folder, core=LOAD_CORE)


@contextmanager
def running(module: str, data_dir: Path, *, core: str = SERVER_CORE, **options: str) -> Iterator[Server]:
    data_dir.mkdir(exist_ok=True)
    where: dict[str, str] = {"DATABASE_URL": f"sqlite:///{data_dir}/orders.db", "LOG_FORMAT": "json"}
    server = Server(module, data_dir, core=core, port=0, **where, **options)
    with stopping(server):
        yield server
