"""Compiles the hot modules of the gateway with mypyc: `make compile`. It needs a C compiler.

    python -m gateway.compiling [--remove]

The source stays as it is; gateway/compiled.py lists the modules and checks, at each start, that the source is
still the one that was compiled. The compiler works on a copy, so that a change meanwhile is noticed as well.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

from gateway import compiled

# `make check` is the strict one; stubs of packages that only the tests need may be missing here.
MYPY_SETTINGS = "[mypy]\nplugins = pydantic.mypy\nignore_missing_imports = True\n"
JOBS_MAX = 4
OUTPUT_CHARACTERS_SHOWN = 4000


class CannotCompile(Exception):
    """What is missing, or what the compiler said."""


def main(arguments: list[str]) -> int:
    folder = compiled.ROOT / compiled.FOLDER
    if arguments == ["--remove"]:
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    if arguments:
        sys.stderr.write("usage: python -m gateway.compiling [--remove]\n")
        return 2
    try:
        compiled.usable_files(compiled.ROOT)
    except compiled.Unusable:
        pass
    else:
        sys.stdout.write("The compiled modules are up to date.\n")
        return 0
    try:
        compile_modules(compiled.ROOT)
    except CannotCompile as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(
        f"Compiled {len(compiled.MODULES)} modules; the gateway uses them from its next start on.\n"
    )
    return 0


def compile_modules(root: Path) -> None:
    """Compile the modules, and put them in the place of earlier ones."""
    need_tools()
    sys.stdout.write(f"Compiling {len(compiled.MODULES)} modules, which takes a minute or two …\n")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory(prefix=".compiling-", dir=root) as name:
        source, made = Path(name, "source"), Path(name, "made")
        for part in compiled.SOURCES:
            shutil.copytree(root / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        build(source, made)
        suffix = EXTENSION_SUFFIXES[0]
        found = {
            ".".join(file.relative_to(made).parts).removesuffix(suffix): str(file.relative_to(made))
            for file in sorted(made.rglob(f"*{suffix}"))
        }
        missing = set(compiled.MODULES) - found.keys()
        assert not missing, missing
        facts = {"sources": compiled.digest_of_sources(source), "system": compiled.system(), "files": found}
        (made / compiled.BUILD).write_text(json.dumps(facts, indent=1) + "\n")
        replace_folder(made, root / compiled.FOLDER)


def need_tools() -> None:
    """Tell everything that is missing in one sentence."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    missing = [name for name in ("mypyc", "setuptools") if find_spec(name) is None]
    if shutil.which(compiler) is None:
        missing.append(f"the C compiler {compiler} (apt-get install gcc libc6-dev)")
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        missing.append("the headers of Python (apt-get install python3-dev)")
    if missing:
        raise CannotCompile(f"Compiling the gateway needs {' and '.join(missing)}.")


def build(source: Path, made: Path) -> None:
    """Run mypyc and the C compiler in a process of their own: setuptools changes the state of its process."""
    settings = source / "mypy.ini"
    settings.write_text(MYPY_SETTINGS)
    files = [f"{module.replace('.', '/')}.py" for module in compiled.MODULES]
    script = f"""
from mypyc.build import mypycify
from setuptools import setup
modules = mypycify(["--config-file", "mypy.ini", *{files!r}], opt_level="2", debug_level="0", multi_file=True)
jobs = "-j{min(JOBS_MAX, os.cpu_count() or 1)}"
folders = ["--build-lib", {str(made)!r}, "--build-temp", {f"{made}-objects"!r}]
arguments = ["--quiet", "build_ext", jobs, *folders]
setup(name="gateway", ext_modules=modules, script_args=arguments)
"""
    done = subprocess.run(  # noqa: S603 (our own script)
        [sys.executable, "-c", script],
        cwd=source,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CannotCompile(f"mypyc could not compile the gateway:\n{done.stdout[-OUTPUT_CHARACTERS_SHOWN:]}")


def replace_folder(new: Path, place: Path) -> None:
    """Put a folder in place of another. Running gateways keep the files that they have loaded."""
    if place.exists():
        place.rename(new.with_name("former"))
    new.rename(place)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
