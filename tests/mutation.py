"""Mutation testing: changes the code in small ways, one at a time, and checks whether the tests notice.

    python -m tests.mutation shared/events --command ".venv/bin/python -m pytest -x -q tests/shared/events"
    python -m tests.mutation services/audit --sample 100 --seed 7 --command "…"

It prints every change that no test notices: either a test is missing, or the change has no effect. The
checkout is never touched, because each worker has a copy of the tree, without ignored files.
"""

import argparse
import ast
import copy
import os
import queue
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECONDS_MIN, TIMES_BASELINE = 20.0, 4.0

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_NOT_CHANGED = ("annotation", "returns", "decorator_list", "type_params", "targets")
_LOGS = ("log", "logger")

Change = tuple[str, ast.AST]  # a description, and the replacement node


@dataclass(frozen=True)
class Mutant:
    path: str
    line: int
    words: str
    source: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.words}"


def mutants(path: str, source: str) -> list[Mutant]:
    """Return all mutants of one file, in line order."""
    tree = ast.parse(source)
    found = []
    for parent, name, place, node, is_top in _places(tree):
        for words, other in _changes(node, is_top=is_top):
            _put(parent, name, place, ast.fix_missing_locations(ast.copy_location(other, node)))
            changed = ast.unparse(tree)
            _put(parent, name, place, node)
            found.append(Mutant(path, node.lineno, words, changed))
    return sorted(found, key=lambda one: one.line)


def _places(tree: ast.Module) -> Iterator[tuple[ast.AST, str, int | None, ast.expr | ast.stmt, bool]]:
    """Yield each node that may change, its position, and whether it is outside all functions."""
    waiting: list[tuple[ast.AST, bool]] = [(tree, True)]
    while waiting:
        parent, is_top = waiting.pop()
        is_top = is_top and not isinstance(parent, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for name, value in ast.iter_fields(parent):
            if name in _NOT_CHANGED:
                continue
            for place, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if not isinstance(node, ast.AST) or _is_said(node):
                    continue
                waiting.append((node, is_top))
                if isinstance(node, ast.expr | ast.stmt):
                    yield parent, name, place, node, is_top


def _is_said(node: ast.AST) -> bool:
    """Whether this is a docstring, assertion, log line, import or f-string, which tests need not detect."""
    if isinstance(node, ast.Assert | ast.Import | ast.ImportFrom | ast.JoinedStr):
        return True
    if not isinstance(node, ast.Expr):
        return False
    return isinstance(node.value, ast.Constant) or ast.unparse(node).split(".")[0] in _LOGS


def _changes(node: ast.expr | ast.stmt, *, is_top: bool) -> Iterator[Change]:
    if isinstance(node, ast.Compare):
        yield from _swapped_comparisons(node)
    elif isinstance(node, ast.BoolOp):
        other: ast.boolop = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield _in_words(node, ast.BoolOp(other, node.values))
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        yield _in_words(node, ast.BinOp(node.left, _ARITHMETIC[type(node.op)](), node.right))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield _in_words(node, node.operand)
    elif isinstance(node, ast.Constant):
        for value in _other_constants(node.value, is_top=is_top):
            yield _in_words(node, ast.Constant(value))
    elif isinstance(node, ast.If | ast.While | ast.IfExp):
        yield from _negated(node)
    else:
        yield from _changed_statements(node)


def _swapped_comparisons(node: ast.Compare) -> Iterator[Change]:
    for place, op in enumerate(node.ops):
        ops = [*node.ops]
        ops[place] = _COMPARISONS[type(op)]()
        yield _in_words(node, ast.Compare(node.left, ops, node.comparators))


def _other_constants(value: object, *, is_top: bool) -> list[bool | int | float]:
    if isinstance(value, bool):
        return [not value]
    if not isinstance(value, int | float):
        return []
    if is_top and value > 1:  # a limit or a timeout: far too large, and zero
        return [value * 1000, type(value)(0)]
    return [value + 1] if value == 0 else [value - 1]


def _negated(node: ast.If | ast.While | ast.IfExp) -> Iterator[Change]:
    if isinstance(node.test, ast.Compare | ast.Constant | ast.UnaryOp):
        return  # these have their own mutants
    if ast.unparse(node.test) == "TYPE_CHECKING":
        return
    other = copy.copy(node)
    other.test = ast.UnaryOp(ast.Not(), node.test)
    yield f"{_first_line(node.test)}  →  {_first_line(other.test)}", other


def _changed_statements(node: ast.expr | ast.stmt) -> Iterator[Change]:
    if isinstance(node, ast.Return) and not _is_none(node.value):
        yield _in_words(node, ast.Return(ast.Constant(None)))
    is_effect = isinstance(node, ast.Expr | ast.AugAssign | ast.Delete | ast.Raise | ast.Continue | ast.Break)
    is_kept = isinstance(node, ast.Assign) and not isinstance(node.targets[0], ast.Name | ast.Tuple)
    if (is_effect or is_kept) and not isinstance(getattr(node, "value", None), ast.Yield):
        yield _in_words(node, ast.Pass())


def _is_none(value: ast.expr | None) -> bool:
    return value is None or (isinstance(value, ast.Constant) and value.value is None)


def _in_words(old: ast.AST, new: ast.AST) -> Change:
    return f"{_first_line(old)}  →  {_first_line(new)}", new


def _first_line(node: ast.AST) -> str:
    first, *more = ast.unparse(node).splitlines()
    return f"{first[:90]} …" if more or len(first) > 90 else first


def _put(parent: ast.AST, name: str, place: int | None, node: ast.AST) -> None:
    if place is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[place] = node


class Copy:
    """One worker's copy of the tree, in which it changes a file and runs the tests."""

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        self._folder, self._command = folder, command
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout
        for name in filter(None, names.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        (folder / ".venv").symlink_to((ROOT / ".venv").resolve())

    def run(self, seconds: float) -> str:
        """Run the tests; return `passed`, `failed` or `took too long`. Their output is in `output`."""
        # Otherwise Python could reuse the previous mutant's .pyc: the source has the same size and the same
        # mtime in seconds.
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        with (self._folder / ".mutation-output").open("w+b") as output:
            process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired:
                return "took too long"
            finally:
                self._end(process)
        return "passed" if code == 0 else "failed"

    @property
    def output(self) -> str:
        return (self._folder / ".mutation-output").read_text(errors="replace")[-3000:]

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Kill the process and everything it started (it leads its own process group)."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def verdict(self, mutant: Mutant, seconds: float) -> str:
        file = self._folder / mutant.path
        before = file.read_bytes()
        file.write_text(mutant.source)
        try:
            return self.run(seconds)
        finally:
            file.write_bytes(before)


def try_all(copies: Sequence[Copy], chosen: Sequence[Mutant], seconds: float) -> Counter[str]:
    """Let each worker take the next mutant until none is left; prints survivors as they are found."""
    waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    for mutant in chosen:
        waiting.put(mutant)
    verdicts: Counter[str] = Counter()

    def work(mine: Copy) -> None:
        while True:
            try:
                mutant = waiting.get_nowait()
            except queue.Empty:
                return
            verdict = mine.verdict(mutant, seconds)
            verdicts[verdict] += 1
            if verdict == "passed":
                print(f"not noticed  {mutant}", flush=True)

    threads = [threading.Thread(target=work, args=(one,)) for one in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return verdicts


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("paths", nargs="+", help="files and directories to change")
    parser.add_argument(
        "--command",
        required=True,
        help="test command; a non-zero exit code means that the mutant was detected",
    )
    parser.add_argument(
        "--sample", type=int, default=0, help="number of changes to try, chosen at random; 0 for all"
    )
    parser.add_argument(
        "--seed", type=int, default=None, help="seed of the random choice; printed if not given"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--seconds",
        type=float,
        default=0,
        help="timeout of one run; by default four times as long as without a change, and at least 20 s",
    )
    parser.add_argument("--list", action="store_true", help="print the changes without running tests")
    return parser.parse_args()


def _files(paths: Sequence[str]) -> list[str]:
    files = [file for path in paths for file in (sorted(Path(path).rglob("*.py")) or [Path(path)])]
    return [str(file.resolve().relative_to(ROOT)) for file in files]


def main() -> int:
    options = _arguments()
    chosen = [one for path in _files(options.paths) for one in mutants(path, (ROOT / path).read_text())]
    total = len(chosen)
    seed = options.seed if options.seed is not None else random.randrange(1_000_000)
    if 0 < options.sample < total:
        chosen = random.Random(seed).sample(chosen, options.sample)
    if options.list:
        print(*chosen, sep="\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="gatehouse-mutation-") as folder:
        copies = []
        for number in range(options.workers):
            (Path(folder) / str(number)).mkdir()
            copies.append(Copy(Path(folder) / str(number), shlex.split(options.command)))
        began = time.monotonic()
        if copies[0].run(options.seconds or 3600) != "passed":
            print(f"the tests fail without any change:\n{copies[0].output}")
            return 2
        seconds = options.seconds or max(SECONDS_MIN, TIMES_BASELINE * (time.monotonic() - began))
        print(f"{len(chosen)} of {total} changes, seed {seed}, at most {seconds:.0f} s each", flush=True)
        verdicts = try_all(copies, chosen, seconds)
    noticed = verdicts["failed"] + verdicts["took too long"]
    print(
        f"{noticed} of {len(chosen)} changes were noticed ({100 * noticed / max(1, len(chosen)):.1f} %), "
        f"{verdicts['took too long']} of them by taking too long; {verdicts['passed']} were not"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
