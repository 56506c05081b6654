"""Clients that generators make from /openapi.json: the commands and programs of docs/clients.md."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests import support
from tests.suite.conftest import ROOT, Suite

pytestmark = [pytest.mark.prove, pytest.mark.timeout(600)]  # generators and compilers read a document of 2 MB

COMMAND_SECONDS = 300
IMPORT_ALL = (
    "import importlib, pkgutil, gatehouse_client as made; "
    "print(len([importlib.import_module(one.name) "
    "for one in pkgutil.walk_packages(made.__path__, 'gatehouse_client.')]))"
)


def blocks(heading: str, suite: Suite) -> dict[str, str]:
    """Return the blocks below a heading of the page by language, for this suite."""
    text = (ROOT / "docs" / "clients.md").read_text()
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^```(\w+)\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    return {language: block.replace("http://localhost:8000", suite.url) for language, block in found}


def run(command: str, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout.strip()


def documented_operations(suite: Suite) -> int:
    document = httpx.get(f"{suite.url}/openapi.json", timeout=30).json()
    assert document["x-unavailable"] == []
    methods = ("get", "put", "post", "delete", "options", "head", "patch")
    return sum(method in item for item in document["paths"].values() for method in methods)


def test_typescript_client_compiles_and_runs_the_journey(suite: Suite, tmp_path: Path) -> None:
    support.need("bash", "node")
    found = blocks("TypeScript", suite)
    install, *commands = found["bash"].splitlines()
    support.install_from_npm(tmp_path, *install.split()[3:])
    (tmp_path / "journey.mts").write_text(found["typescript"])
    for command in commands:
        output = run(command, tmp_path, dict(os.environ))

    assert output == "typed@example.com Laptop 999.99 Hello not_found"
    wrong = found["typescript"].replace("quantity: 1", 'quantity: "one"')
    (tmp_path / "journey.mts").write_text(wrong)
    done = subprocess.run(
        commands[1].split(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert "Type 'string' is not assignable to type 'number'" in done.stdout


def test_python_client_has_every_operation_and_runs_the_journey(suite: Suite, tmp_path: Path) -> None:
    support.need("bash")
    found = blocks("Python", suite)
    make, enter, install, *commands = found["bash"].splitlines()
    run(make.replace("python3", sys.executable), tmp_path, dict(os.environ))
    binaries = tmp_path / "environment" / "bin"
    assert enter == ". environment/bin/activate"
    environment = {
        **os.environ,
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "VIRTUAL_ENV": str(binaries.parent),
    }
    if subprocess.run(install.split(), cwd=tmp_path, env=environment, check=False).returncode:
        support.do_without("pip cannot install the generator")
    (tmp_path / "client.yml").write_text(found["yaml"])
    (tmp_path / "journey.py").write_text(found["python"])
    for command in commands:
        output = run(command, tmp_path, environment)
    (tmp_path / "wrong.py").write_text(found["python"].replace("quantity=1", 'quantity="one"'))
    check = commands[1].replace("journey.py", "wrong.py").split()
    wrong = subprocess.run(
        check,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )

    assert 'has incompatible type "str"; expected "int' in wrong.stdout, wrong.stdout
    assert output == "typed@example.org Laptop 999.99 Hello not_found"
    generated = [*(tmp_path / "gatehouse_client" / "api").glob("*/[a-z]*.py")]
    assert len(generated) == documented_operations(suite)
    assert int(run(f'python -c "{IMPORT_ALL}"', tmp_path, environment)) > len(generated)
