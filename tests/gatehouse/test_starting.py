"""Processes that are forked from a warm process, and processes with their own Python."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from gatehouse.starting import ByExecution, ByFork, Process, Starter, can_fork

pytestmark = pytest.mark.skipif(not can_fork(), reason="forking is not safe here")

# Prints what it sees, then waits for the end of its input, as a service does.
TOY = """
import json, os, signal, sys
try:
    import rich
except ImportError:
    rich = None
seen = {"pid": os.getpid(), "parent": os.getppid(), "development": rich is not None,
        "words": os.environ.get("WORDS"), "session": os.getsid(0),
        "inherited": os.environ.get("INHERITED"), "warm": "shared.service" in sys.modules, "name": __name__,
        "arguments": sys.argv, "terminates": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL}
print(json.dumps(seen), flush=True)
print("to stderr", file=sys.stderr, flush=True)
said = sys.stdin.readline()
sys.exit(int(said or 0))
"""


# A program that prints the metrics of its process that belong to a toy.
COUNTING = """
import sys
from prometheus_client import REGISTRY
from {name}.counting import SEEN
names = sorted(metric.name for metric in REGISTRY.collect())
print(*[name for name in names if name.startswith(("toy_", "http_requests"))], flush=True)
sys.stdin.readline()
"""


# A program that prints how many of its inherited folders it would read again.
REREADING = """
import sys
from importlib.machinery import FileFinder
finders = [finder for finder in sys.path_importer_cache.values() if isinstance(finder, FileFinder)]
print(len(finders) > 50, sum(finder._path_mtime == -1 for finder in finders) > 50, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module to start, and one that represents the modules of the fork server."""
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "code.py").touch()
    os.utime(tmp_path / "shared" / "code.py", (0, 0))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path.cwd()), str(tmp_path)]))
    monkeypatch.setenv("INHERITED", "by the launcher only")
    return tmp_path


@pytest.fixture
async def by_fork(root: Path) -> AsyncIterator[ByFork]:
    starter = ByFork(root)
    yield starter
    starter.close()


async def start(starter: Starter, **environment: str) -> tuple[Process, Mapping[str, object]]:
    process = await starter.start("toy", {"PYTHONPATH": os.environ["PYTHONPATH"], **environment})
    assert process.stdout is not None
    return process, json.loads(await process.stdout.readline())


async def end(process: Process, code: int = 0) -> int:
    process.tell(f"{code}\n".encode())
    return await process.wait()


def _command(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")


async def test_forked_process_behaves_like_one_with_its_own_python(by_fork: ByFork) -> None:
    forked, seen = await start(by_fork, WORDS="hello")
    executed, wanted = await start(ByExecution(), WORDS="hello")

    for process, saw in ((forked, seen), (executed, wanted)):
        assert saw["pid"] == saw["session"] == process.pid
        assert (saw["words"], saw["inherited"], saw["name"]) == ("hello", None, "__main__")
        assert saw["terminates"]
        assert process.stdout is not None
        assert await process.stdout.readline() == b"to stderr\n"
    assert (seen["warm"], wanted["warm"]) == (True, False)
    assert not seen["development"]  # `requirements.lock` does not have it either
    assert _command(forked.pid) == [sys.executable.encode(), b"-m", b"toy"]
    assert await end(forked, 3) == await end(executed, 3) == 3


async def test_last_output_of_a_process_is_read_and_its_pipe_closes(by_fork: ByFork) -> None:
    process, _ = await start(by_fork)
    other, _ = await start(by_fork)  # must not keep the pipes of the first one open
    await end(process)

    assert process.stdout is not None
    async with asyncio.timeout(5):
        assert await process.stdout.read() == b"to stderr\n"
    assert other.returncode is None
    other.kill()
    assert await other.wait() == -signal.SIGKILL


async def test_unknown_module_ends_with_the_reason(by_fork: ByFork) -> None:
    process = await by_fork.start("no_such_module", {})

    assert process.stdout is not None
    assert b"No module named no_such_module" in await process.stdout.read()
    assert await process.wait() == 1


async def test_processes_come_from_one_server_until_its_code_has_changed(by_fork: ByFork, root: Path) -> None:
    started = [await start(by_fork) for _ in range(2)]
    parents = {seen["parent"] for _, seen in started}
    (root / "shared" / "code.py").touch()
    after, seen = await start(by_fork)

    assert len(parents) == 1
    assert seen["parent"] not in parents
    # The end of processes forked by the old server is still noticed.
    assert [await end(process, 4) for process, _ in started] == [4, 4]
    await end(after)


async def test_processes_survive_their_fork_server_and_the_next_one_gets_a_new_one(by_fork: ByFork) -> None:
    process, seen = await start(by_fork)
    os.kill(int(str(seen["parent"])), signal.SIGKILL)
    async with asyncio.timeout(20):
        while (again := await start(by_fork))[1]["parent"] == seen["parent"]:
            await end(again[0])

    assert process.returncode is None
    process.terminate()
    async with asyncio.timeout(5):
        assert await process.wait() != 0
    await end(again[0])


async def test_process_gets_its_own_python_if_the_fork_server_cannot_start(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = root / "contracts"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('broken')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), str(Path.cwd())]))
    monkeypatch.chdir(root)
    starter = ByFork(root)

    process, seen = await start(starter)

    assert seen["parent"] == os.getpid()
    assert await end(process) == 0
    starter.close()


class TestPrograms:
    """Programs that the fork server imports before it forks."""

    @pytest.fixture
    def counting(self, root: Path) -> Path:
        for name in ("toy_cat", "toy_dog"):
            (root / name).mkdir()
            (root / name / "__init__.py").touch()
            (root / name / "__main__.py").write_text(COUNTING.format(name=name))
            (root / name / "counting.py").write_text(
                "from prometheus_client import Counter\n"
                "from shared.process.observe import REQUESTS\n"
                f"SEEN = Counter('{name}', '')\n"
            )
            for file in (root / name).iterdir():
                os.utime(file, (0, 0))
        return root

    @pytest.fixture
    async def starter(self, counting: Path) -> AsyncIterator[ByFork]:
        starter = ByFork(counting, ["toy_cat", "toy_dog"])
        yield starter
        starter.close()

    async def test_each_process_reports_only_its_own_metrics(self, starter: ByFork) -> None:
        for name in ("toy_cat", "toy_dog"):
            process = await starter.start(name, {"PYTHONPATH": os.environ["PYTHONPATH"]})
            assert process.stdout is not None
            assert (await process.stdout.readline()).decode().split() == ["http_requests", name]
            assert await end(process) == 0

    async def test_only_a_program_that_was_not_imported_looks_for_new_modules(
        self, counting: Path, starter: ByFork
    ) -> None:
        """It changes a page for nearly every package, which is then copied."""
        (counting / "toy_new").mkdir()
        for name in ("toy_cat", "toy_new"):
            (counting / name / "__main__.py").write_text(REREADING)
            os.utime(counting / name / "__main__.py", (0, 0))
        output = []
        for name in ("toy_cat", "toy_new"):
            process = await starter.start(name, {"PYTHONPATH": os.environ["PYTHONPATH"]})
            assert process.stdout is not None
            output.append(await process.stdout.readline())
            assert await end(process) == 0

        assert output == [b"True False\n", b"True True\n"]

    async def test_processes_share_the_imported_modules_until_their_program_changes(
        self, starter: ByFork, counting: Path
    ) -> None:
        parents = []
        for _ in range(2):
            process = await starter.start("toy_cat", {"PYTHONPATH": os.environ["PYTHONPATH"]})
            parents.append(_parent(process.pid))
            await end(process)
        (counting / "toy_cat" / "counting.py").write_text("SEEN = None\n")
        after = await starter.start("toy_cat", {"PYTHONPATH": os.environ["PYTHONPATH"]})

        assert parents[0] == parents[1] != _parent(after.pid)
        assert after.stdout is not None
        assert await after.stdout.readline() == b"http_requests\n"
        await end(after)

    async def test_program_that_cannot_be_imported_reports_why_and_the_others_start(
        self, counting: Path
    ) -> None:
        (counting / "toy_cat" / "counting.py").write_text("import no_such_module\n")
        starter = ByFork(counting, ["toy_cat", "toy_dog"])
        broken, good = [await starter.start(name, {}) for name in ("toy_cat", "toy_dog")]

        assert broken.stdout is not None
        assert b"No module named 'no_such_module'" in await broken.stdout.read()
        assert await broken.wait() == 1
        assert await end(good) == 0
        starter.close()


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
