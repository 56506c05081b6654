"""The compiled gateway does the same: tests of this folder, run with the hot modules as machine code.

Usually those of what is compiled: bytes in and out, policies, routes. `make prove LENGTH=2` runs all.
"""

import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from gateway import compiled, compiling
from tests import support
from tests.support import length

pytestmark = [pytest.mark.prove, pytest.mark.long(4), pytest.mark.timeout(1800)]

COMPILE_SECONDS, TESTS_SECONDS = 900, 900
COPIED = ("contracts", "deploy", "docs", "gatehouse", "gateway", "services", "shared", "tests", "nginx")
OF_THE_MODULES = """
    admission browser_sessions concurrency envelope exact forward frames hostile limits outlet policies reads
    repeated_heads routing streaming table tally token_attacks whole_answers
""".split()
# Tests of files alone, or of what cannot be compiled again in a copy.
NOT_REPEATED = ("compiled", "compiled_build", "docs", "console", "cli")
WHERE = "import sys, importlib; print(*(importlib.import_module(name).__file__ for name in sys.argv[1:]))"


def run(root: Path, *arguments: str, seconds: float) -> str:
    outside = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "PYTHONPATH"))
    }
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env={**outside, compiled.WISH: "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:]
    return done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this project with its compiled modules."""
    try:
        compiling.need_tools()
    except compiling.CannotCompile as error:
        support.do_without(str(error))
    root = tmp_path_factory.mktemp("compiled") / "gatehouse"
    for part in COPIED:
        shutil.copytree(compiled.ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (one for one in compiled.ROOT.iterdir() if one.is_file()):
        shutil.copy(file, root)
    run(root, "-m", "gateway.compiling", seconds=COMPILE_SECONDS)
    return root


def test_tests_of_the_gateway_pass_with_compiled_modules(copy: Path) -> None:
    files = run(copy, "-c", WHERE, *compiled.MODULES, seconds=60).split()
    assert {file.endswith(EXTENSION_SUFFIXES[0]) for file in files} == {True}, files

    chosen = [f"tests/gateway/test_{name}.py" for name in OF_THE_MODULES]
    if length(1) > 1:
        chosen = ["tests/gateway", *(f"--ignore=tests/gateway/test_{name}.py" for name in NOT_REPEATED)]
    options = ["-q", "-n", "2", "--dist", "worksteal", "-p", "no:cacheprovider", "-m", "not prove"]
    told = run(copy, "-m", "pytest", *options, *chosen, seconds=TESTS_SECONDS)
    assert " passed" in told
