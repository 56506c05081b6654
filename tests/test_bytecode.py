from pathlib import Path

import pytest
from _pytest.assertion import rewrite

from tests import bytecode


def test_only_changed_modules_are_compiled_and_python_and_pytest_read_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    monkeypatch.setattr(bytecode, "_configs", [pytestconfig])
    plain, test = tmp_path / "shared" / "plain.py", tmp_path / "tests" / "test_one.py"
    for file in (plain, test):
        file.parent.mkdir()
        file.write_text("assert 1 + 1 == 2\n")
    assert [*bytecode.outdated(tmp_path)] == [plain, test]

    for file in (plain, test):
        bytecode.compile_one(file)
    assert [*bytecode.outdated(tmp_path)] == []
    assert rewrite._read_pyc(test, bytecode.compiled_file(test)) is not None

    for file in (plain, test):
        file.write_text("assert 1 +\n")
        bytecode.compile_one(file)  # leaves the error to the import
    assert [*bytecode.outdated(tmp_path)] == [plain, test]
    assert rewrite._read_pyc(test, bytecode.compiled_file(test)) is None
