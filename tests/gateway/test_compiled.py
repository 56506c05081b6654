"""Compiled modules: used for exactly the source and the Python that they were made for."""

import json
import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from pathlib import Path

import pytest

from gateway import compiled, compiling
from shared.testing import TEST_JWT_SECRET
from tests.support import free_port

SUFFIX = EXTENSION_SUFFIXES[0]
LOADED = "import gateway.http.headers as it; print(repr(gateway.WHY_NOT_COMPILED), it.__file__)"


def tree(folder: Path, *parts: str) -> Path:
    """Copy some of the source, without what was compiled of it."""
    for part in parts:
        shutil.copytree(compiled.ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def build(root: Path, **other: object) -> None:
    """Write a build of the source in this folder, with files that no Python can load."""
    folder = root / compiled.FOLDER
    folder.mkdir()
    files = {name: f"{name}{SUFFIX}" for name in compiled.MODULES}
    for file in files.values():
        (folder / file).write_bytes(b"no machine code")
    facts = {
        "sources": compiled.digest_of_sources(root),
        "system": compiled.system(),
        "files": files,
        **other,
    }
    (folder / compiled.BUILD).write_text(json.dumps(facts))


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in (compiled.WISH, "PYTHONPATH")}


def python(root: Path, *arguments: str, **wishes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env={**environment(), **wishes},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A tree with two files of source and a build of them."""
    for part in compiled.SOURCES:
        (tmp_path / part).mkdir()
        (tmp_path / part / "one.py").write_text("ONE = 1\n")
    build(tmp_path)
    return tmp_path


def test_list_names_each_module_once_in_order_and_all_of_them_exist() -> None:
    missing = [
        name for name in compiled.MODULES if not (compiled.ROOT / f"{name.replace('.', '/')}.py").is_file()
    ]

    assert missing == []
    assert list(compiled.MODULES) == sorted(set(compiled.MODULES))


def test_build_of_this_source_is_used(small: Path) -> None:
    files = compiled.usable_files(small)
    finder = compiled.Finder(files)
    spec = finder.find_spec("gateway.http.headers")

    assert set(files) == set(compiled.MODULES)
    assert spec is not None
    assert isinstance(spec.loader, ExtensionFileLoader)
    assert spec.origin == str(small / compiled.FOLDER / f"gateway.http.headers{SUFFIX}")
    assert finder.find_spec("gateway.settings") is None


def test_any_change_of_the_source_makes_the_build_stale(small: Path) -> None:
    file = small / "shared" / "one.py"
    file.write_text("ONE = 2\n")
    with pytest.raises(compiled.Unusable, match=compiled.STALE):
        compiled.usable_files(small)

    file.write_text("ONE = 1\n")
    compiled.usable_files(small)
    file.rename(small / "shared" / "two.py")
    with pytest.raises(compiled.Unusable, match=compiled.STALE):
        compiled.usable_files(small)

    (small / "shared" / "two.py").rename(file)
    (small / "gateway" / "new.py").write_text("")
    with pytest.raises(compiled.Unusable, match=compiled.STALE):
        compiled.usable_files(small)


def test_build_of_another_python_and_an_incomplete_one_are_not_used(tmp_path: Path, small: Path) -> None:
    file = small / compiled.FOLDER / f"gateway.http.headers{SUFFIX}"
    file.unlink()
    with pytest.raises(compiled.Unusable, match=r"gateway\.http\.headers.* is missing"):
        compiled.usable_files(small)

    shutil.rmtree(small / compiled.FOLDER)
    with pytest.raises(compiled.Unusable, match=compiled.ABSENT):
        compiled.usable_files(small)
    build(small, system=".cpython-27.so glibc 2.1")
    with pytest.raises(compiled.Unusable, match=r"another Python or system \(\.cpython-27\.so glibc 2\.1\)"):
        compiled.usable_files(small)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"system": 1, "sources": 2, "files": 3}', "\udcff"]
)
def test_damaged_build_is_not_used(small: Path, content: str) -> None:
    file = small / compiled.FOLDER / compiled.BUILD
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(compiled.Unusable, match="run make compile again"):
        compiled.usable_files(small)

    file.unlink()
    file.mkdir()
    with pytest.raises(compiled.Unusable, match="cannot be read"):
        compiled.usable_files(small)


def test_gateway_with_a_stale_build_runs_from_source_and_logs_why(tmp_path: Path) -> None:
    root = tree(tmp_path, "gateway", "shared")
    assert python(root, "-c", f"import gateway; {LOADED}").stdout.startswith(repr(compiled.ABSENT))
    build(root)
    (root / "gateway" / "added.py").write_text("")
    loaded = python(root, "-c", f"import gateway; {LOADED}")
    assert loaded.stdout == f"{compiled.STALE!r} {root / 'gateway/http/headers.py'}\n", loaded.stderr

    routes = root / "routes.yaml"
    routes.write_text('routes:\n  - {path: /open, backend: "http://127.0.0.1:9", auth: none}\n')
    settings = {
        "PORT": str(free_port()),
        "ADMIN_PORT": "0",
        "LOG_FORMAT": "json",
        "DATA_DIR": str(root / "data"),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "gateway"],
        cwd=root,
        env={**environment(), **settings, "ROUTES_FILE": str(routes), "JWT_SECRET": TEST_JWT_SECRET},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as gateway:
        assert gateway.stdout is not None
        started = json.loads(gateway.stdout.readline())
        warning = json.loads(gateway.stdout.readline())
        gateway.terminate()
        gateway.stdout.read()
    assert (started["event"], started["compiled"]) == ("starting", False)
    assert (warning["event"], warning["reason"]) == ("compiled_modules_unused", compiled.STALE)


def test_build_that_fits_is_loaded_unless_it_is_switched_off_and_may_be_required(tmp_path: Path) -> None:
    root = tree(tmp_path, "gateway", "shared")
    required = python(root, "-m", "gateway", **{compiled.WISH: "true"})
    assert required.returncode == 1
    assert f"there are no compiled modules: {compiled.ABSENT}" in required.stderr

    unclear = python(root, "-m", "gateway", **{compiled.WISH: "yes"})
    assert (unclear.returncode, unclear.stderr) == (1, f"{compiled.WISH} must be true, false or empty.\n")

    build(root)
    script = f"import gateway; {LOADED}"
    assert "ImportError" in python(root, "-c", script).stderr  # it was loaded, and is no machine code
    off = python(root, "-c", script, **{compiled.WISH: "false"})
    assert off.stdout == f"{compiled.OFF!r} {root / 'gateway/http/headers.py'}\n", off.stderr


def test_missing_compiler_is_named_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiled, "ROOT", tmp_path)
    monkeypatch.setenv("CC", "no-such-compiler -O2")
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(tmp_path))

    assert compiling.main([]) == 1
    told = capsys.readouterr().err
    assert told.startswith("Compiling the gateway needs ")
    assert "the C compiler no-such-compiler (apt-get install gcc libc6-dev)" in told
    assert "the headers of Python (apt-get install python3-dev)" in told
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_build_that_fits_is_not_made_again_and_can_be_removed(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiled, "ROOT", small)
    monkeypatch.setenv("CC", "no-such-compiler")

    assert compiling.main([]) == 0
    assert capsys.readouterr().out == "The compiled modules are up to date.\n"
    assert compiling.main(["--remove"]) == 0
    assert not (small / compiled.FOLDER).exists()
    assert compiling.main(["--remove"]) == 0
