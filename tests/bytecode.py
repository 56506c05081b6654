"""Compiles modules once before a parallel run, because otherwise each worker would compile all of them."""

import os
import py_compile
import struct
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from importlib.util import cache_from_source, source_hash
from multiprocessing import get_context
from pathlib import Path

import pytest
from _pytest.assertion import rewrite

ROOT = Path(__file__).parent.parent
PARTS = ("contracts", "gatehouse", "gateway", "services", "shared", "tests")
FILES_AT_ONCE = 8
# A compiled file begins with eight bytes about Python, then eight about its source.
_ABOUT_SOURCE = slice(8, 16)
_LONG = 0xFFFFFFFF
_configs: list[pytest.Config] = []  # of the run, in the processes that compile


def compile_all(config: pytest.Config) -> None:
    """Compile on all cores what has changed since the last run."""
    if sys.dont_write_bytecode or not (files := [*outdated(ROOT)]):
        return
    # Forked processes inherit the configuration, which cannot be pickled.
    with ProcessPoolExecutor(os.cpu_count(), get_context("fork"), _configs.append, (config,)) as pool:
        for _ in pool.map(compile_one, files, chunksize=FILES_AT_ONCE):
            pass


def outdated(root: Path) -> Iterator[Path]:
    for part in PARTS:
        for file in (root / part).rglob("*.py"):
            if not _is_current(file):
                yield file


def compile_one(file: Path) -> None:
    """Compile a module. Whoever imports it later reports a syntax error better than we could."""
    compiled = compiled_file(file)
    if not _is_rewritten(file):
        py_compile.compile(str(file), str(compiled), quiet=2)
        return
    compiled.parent.mkdir(exist_ok=True)
    with suppress(SyntaxError):
        # These are private, but pytest has no other way to rewrite a module without running it.
        digest, code = rewrite._rewrite_test(file, _configs[0])
        rewrite._write_pyc(_configs[0].stash[rewrite.assertstate_key], code, digest, compiled)


def compiled_file(file: Path) -> Path:
    if _is_rewritten(file):
        return rewrite.get_cache_dir(file) / f"{file.stem}{rewrite.PYC_TAIL}"
    return Path(cache_from_source(str(file)))


def _is_rewritten(file: Path) -> bool:
    """Return whether pytest compiles the module itself, so that failed assertions show their values."""
    return file.name == "conftest.py" or file.name.startswith("test_")


def _is_current(file: Path) -> bool:
    try:
        with compiled_file(file).open("rb") as stream:
            about_source = stream.read(_ABOUT_SOURCE.stop)[_ABOUT_SOURCE]
    except OSError:
        return False
    if _is_rewritten(file):
        return about_source == source_hash(file.read_bytes())
    stat = file.stat()
    return about_source == struct.pack("<LL", int(stat.st_mtime) & _LONG, stat.st_size & _LONG)
