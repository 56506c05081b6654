"""The `gatehouse` command, on a copy of the project so that it may write."""

import re
import shutil
import ssl
import stat
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

from gatehouse import cli
from gatehouse.new_service import plural
from shared import __version__
from shared.testing import TEST_INTERNAL_SECRET
from tests.shared.processes import ROOT, started

OUTSIDE = """
import runpy, sys
sys.path.insert(0, "."); sys.prefix = sys.base_prefix
runpy.run_module("gatehouse", run_name="__main__")
"""


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project without generated files; this process uses it as the project root."""
    target = tmp_path / "copy"
    left_out = shutil.ignore_patterns("__pycache__", "*.db*")
    for folder in ("contracts", "gatehouse", "gateway", "services", "shared", "deploy"):
        shutil.copytree(ROOT / folder, target / folder, ignore=left_out)
    (target / "tests" / "support").mkdir(parents=True)
    for file in (
        "__init__.py",
        "conftest.py",
        "connections.py",
        "databases.py",
        "bytecode.py",
        "halves.py",
        "longest.py",
        "conformance.py",
        "support/__init__.py",
        "told.py",
        "watchdog.py",
    ):
        shutil.copy(ROOT / "tests" / file, target / "tests" / file)
    for file in ("routes.yaml", "pyproject.toml", "README.md", "docker-compose.yml"):
        shutil.copy(ROOT / file, target / file)
    monkeypatch.setattr(cli, "ROOT", target)
    monkeypatch.chdir(target)
    monkeypatch.setenv("DATA_DIR", str(target / "data"))
    monkeypatch.setenv("INTERNAL_SECRET", TEST_INTERNAL_SECRET)
    return target


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(copy: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process; return its exit code and output."""

    def run(*arguments: str) -> tuple[int, str]:
        try:
            code = cli.main(list(arguments))
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capfd.readouterr()
        return code, said.out + said.err

    return run


def run_changed(copy: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run the command in its own process with the code of the copy; return its exit code and output."""
    own = {"PYTHONPATH": str(copy), "DATA_DIR": str(copy / "data"), "INTERNAL_SECRET": TEST_INTERNAL_SECRET}
    with started("-m", "gatehouse", *arguments, environment=own | environment, cwd=copy) as running:
        return running.code(), running.output


class TestMigrate:
    def test_migrate_without_a_name_migrates_all_services(self, run: Run, copy: Path) -> None:
        code, output = run("migrate")

        assert code == 0, output
        for service in ("auth", "orders", "users"):
            assert re.search(rf"^{service}: at \d{{4}}$", output, re.MULTILINE)
            assert (copy / "data" / f"{service}.db").exists()

    def test_migrate_with_a_name_migrates_only_that_service(self, run: Run, copy: Path) -> None:
        code, output = run("migrate", "orders")

        assert code == 0, output
        assert [file.name for file in (copy / "data").glob("*.db")] == ["orders.db"]

    def test_unknown_service_is_refused_with_a_suggestion(self, run: Run, copy: Path) -> None:
        code, output = run("migrate", "oders")

        assert code == 2
        assert "oders" in output
        assert "orders" in output

    def test_migrate_with_invalid_settings_names_the_variable(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ORDERS_LOG_LEVEL", "loud")
        code, output = run("migrate")

        assert code == 2
        assert output.splitlines()[1].startswith("  ORDERS_LOG_LEVEL: ")


class TestMigration:
    def test_new_column_of_a_model_is_written_as_a_migration(self, copy: Path) -> None:
        models = copy / "services" / "orders" / "models.py"
        text = models.read_text()
        models.write_text(
            text.replace("    version: int = 1\n", "    version: int = 1\n    note: str | None = None\n")
        )
        code, output = run_changed(copy, "migration", "orders", "add_orders_note")

        assert code == 0, output
        written = re.search(r"^wrote (\S+); review it before you use it$", output, re.MULTILINE)
        assert written is not None
        assert written[1].endswith("_add_orders_note.py")
        assert "note" in (copy / written[1]).read_text()
        assert "###" not in (copy / written[1]).read_text()
        assert len(output.splitlines()) == 1
        code, output = run_changed(copy, "migrate", "orders")
        assert code == 0, output

    def test_hints_name_what_the_author_has_to_complete(self, copy: Path) -> None:
        models = copy / "services" / "orders" / "models.py"
        before = models.read_text()
        models.write_text(
            before.replace("    version: int = 1\n", '    version: int = 1\n    note: str = ""\n', 1)
        )
        assert "existing rows have no note: give it a server_default" in self._said(copy, "add_note")

        models.write_text(before)
        dropped = self._said(copy, "drop_note")
        assert "server_default" not in dropped
        assert "it is empty" not in dropped
        assert "it is empty" in self._said(copy, "fill_something_in")

    def _said(self, copy: Path, message: str) -> str:
        code, output = run_changed(copy, "migration", "orders", message)
        assert code == 0, output
        return output

    def test_unknown_service_is_refused_without_a_traceback(self, run: Run, copy: Path) -> None:
        code, output = run("migration", "oders", "x")

        assert code == 2
        assert "oders" in output
        assert "Traceback" not in output


class TestService:
    @pytest.mark.prove
    def test_created_service_works_unchanged(self, copy: Path) -> None:
        """Its tests pass, its migrations run, and the gateway has its route."""
        code, output = run_changed(copy, "service", "billing", "--thing", "invoice")

        assert code == 0, output
        assert "wrote services/billing/models.py" in output
        assert "  - path: /billing/invoices\n" in (copy / "routes.yaml").read_text()
        assert run_changed(copy, "routes", "check", "routes.yaml")[0] == 0, "/billing is already routed"
        assert "  billing:\n    <<: *service\n" in (copy / "docker-compose.yml").read_text()
        assert "BILLING_DATABASE_PASSWORD=<secret>\n" in (copy / "deploy/env.template").read_text()
        scopes = (copy / "contracts/scopes.py").read_text()
        assert '    "billing:write": "Add, change and delete invoices for you",\n}\n' in scopes
        assert "| `invoice.added` | billing |" in run_changed(copy, "events", "catalogue")[1]
        for command in (["format"], ["check", "--fix"], ["format"], ["check"]):
            ruff = [sys.executable, "-m", "ruff", *command, "--quiet", "services/billing", "tests/billing"]
            assert subprocess.run(ruff, cwd=copy, check=False).returncode == 0
        tests = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "tests/billing",
            "-p",
            "no:cacheprovider",
            "-k",
            "sqlite",
        ]
        done = subprocess.run(
            tests,
            cwd=copy,
            env={"PATH": "", "PYTHONPATH": str(copy)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        assert " passed" in done.stdout
        assert run_changed(copy, "migrate", "billing")[0] == 0
        second, said = run_changed(copy, "service", "billing")
        assert second == 1
        assert "already exists" in said

    def test_two_created_services_get_different_ports(self, run: Run, copy: Path) -> None:
        for name in ("one", "two"):
            assert run("service", name, "--thing", f"{name}_entry")[0] == 0
        ports = [
            re.findall(r"default=(\d+)", (copy / "services" / name / "settings.py").read_text())
            for name in ("one", "two")
        ]

        assert ports[0] != ports[1]

    @pytest.mark.parametrize(
        "name", ["Billing", "a", "../x", "class", "9lives", "orders", "x" * 40, "gateway", "api"]
    )
    def test_invalid_service_name_is_refused(self, run: Run, copy: Path, name: str) -> None:
        before = (copy / "routes.yaml").read_text()
        code, output = run("service", name)

        assert code == 1
        assert name in output
        assert (copy / "routes.yaml").read_text() == before

    @pytest.mark.parametrize("thing", ["Invoice", "class", "session", "order", "../x"])
    def test_thing_whose_name_is_taken_is_refused(self, run: Run, copy: Path, thing: str) -> None:
        before = (copy / "contracts/events.py").read_text()
        code, output = run("service", "billing", "--thing", thing)

        assert code == 1
        assert repr(thing) in output
        assert (copy / "contracts/events.py").read_text() == before
        assert not (copy / "services/billing").exists()

    def test_unreadable_list_of_scopes_is_refused_with_the_entry_to_add(self, run: Run, copy: Path) -> None:
        (copy / "contracts/scopes.py").write_text("SCOPES = dict()\n")
        code, output = run("service", "billing", "--thing", "invoice")

        assert code == 1
        assert '    "billing:read": "See your invoices",' in output
        assert not (copy / "services/billing").exists()

    @pytest.mark.parametrize(
        ("thing", "things"),
        [("entry", "entries"), ("day", "days"), ("box", "boxes"), ("credit_note", "credit_notes")],
    )
    def test_things_are_the_plural_of_thing(self, thing: str, things: str) -> None:
        assert plural(thing) == things

    def test_routes_in_flow_style_are_refused_with_the_entry_to_add(self, run: Run, copy: Path) -> None:
        (copy / "routes.yaml").write_text("routes: []\n")
        code, output = run("service", "billing")

        assert code == 1
        assert "- path: /billing" in output
        assert not (copy / "services" / "billing").exists(), "all or nothing"


class TestEnv:
    def test_env_writes_secrets_and_keeps_an_existing_file(self, run: Run, copy: Path) -> None:
        code, output = run("env")
        file = copy / ".env"
        written = file.read_text()

        assert code == 0
        assert output == "wrote .env with fresh secrets\n"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        secrets = re.findall(r"=([0-9a-f]{64})$", written, re.MULTILINE)
        assert len(secrets) == len(set(secrets)) >= 3
        assert "<secret>" not in written
        assert run("env") == (0, ".env exists already and is unchanged\n")
        assert file.read_text() == written

    def test_existing_file_gets_only_the_secrets_that_it_lacks(self, run: Run, copy: Path) -> None:
        assert run("env")[0] == 0
        whole = (copy / ".env").read_text()
        older = re.sub("^(USERS_DATABASE|REDIS_GATEWAY)_PASSWORD=.*\n", "", whole, flags=re.MULTILINE)
        (copy / ".env").write_text(older.rstrip("\n"))
        code, output = run("env")
        added = (copy / ".env").read_text().removeprefix(older)

        assert (code, output) == (0, "added USERS_DATABASE_PASSWORD, REDIS_GATEWAY_PASSWORD to .env\n")
        assert re.fullmatch(
            "USERS_DATABASE_PASSWORD=[0-9a-f]{64}\nREDIS_GATEWAY_PASSWORD=[0-9a-f]{64}\n", added
        )

    def test_env_writes_a_self_signed_pair_once(self, run: Run, copy: Path) -> None:
        assert run("env", "--certificate", "localhost")[0] == 0
        key, certificate = copy / "tls" / "key.pem", copy / "tls" / "cert.pem"
        assert key.stat().st_mode & 0o777 == 0o600
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)  # refuses a key that is not of the certificate
        before = key.read_bytes()
        assert (
            "tls has a certificate already, which is unchanged" in run("env", "--certificate", "localhost")[1]
        )
        assert key.read_bytes() == before

    def test_env_reports_a_file_that_cannot_be_written(self, run: Run, copy: Path) -> None:
        assert run("env", "--file", "missing/.env") == (
            1,
            "missing/.env: cannot be written (No such file or directory)\n",
        )


class TestCommand:
    def test_help_lists_all_commands(self, run: Run, copy: Path) -> None:
        code, output = run("--help")

        assert code == 0
        assert all(name in output for name in cli.COMMANDS)

    @pytest.mark.parametrize(
        ("arguments", "usage"),
        [([], "gatehouse"), (["events"], "gatehouse events"), (["routes"], "gatehouse routes")],
    )
    def test_without_a_command_the_help_is_shown(
        self, run: Run, copy: Path, arguments: list[str], usage: str
    ) -> None:
        code, output = run(*arguments)

        assert code == 0
        assert output.startswith(f"usage: {usage} ")
        assert "--help" in output
        assert "error" not in output

    def test_version_is_printed(self, run: Run, copy: Path) -> None:
        assert run("--version") == (0, f"gatehouse {__version__}\n")

    @pytest.mark.parametrize(
        ("arguments", "meant"),
        [(["migrat"], "migrate"), (["events", "replai"], "replay"), (["migrate", "oders"], "orders")],
    )
    def test_nearest_word_is_suggested_for_a_misspelled_one(
        self, run: Run, copy: Path, arguments: list[str], meant: str
    ) -> None:
        code, output = run(*arguments)

        assert code == 2
        assert output.endswith(f"Did you mean {meant!r}?\n")

    @pytest.mark.parametrize("arguments", [["nonsense"], ["up", "extra"], ["service"]])
    def test_wrong_arguments_print_the_usage(self, run: Run, copy: Path, arguments: list[str]) -> None:
        code, output = run(*arguments)

        assert code == 2
        assert "usage: gatehouse" in output

    def test_ctrl_c_ends_with_130_and_no_traceback(
        self, run: Run, copy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(_arguments: Namespace) -> int:
            """Run for a long time."""
            raise KeyboardInterrupt

        monkeypatch.setitem(cli.COMMANDS, "env", (interrupted, cli.COMMANDS["env"][1]))
        assert run("env") == (130, "\ninterrupted\n")

    def test_up_with_invalid_settings_lists_all_of_them(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ORDERS_LOG_LEVEL", "loud")
        monkeypatch.setenv("GATEWAY_PORT", "0")
        code, output = run("up")

        assert code == 2
        assert [line.split(":")[0] for line in output.splitlines()] == [
            "The settings are invalid",
            "  ORDERS_LOG_LEVEL",
            "  GATEWAY_PORT",
        ]


def test_python_without_the_packages_names_the_virtual_environment() -> None:
    """It is the system's Python, for a user who has not activated the virtual environment."""
    outside = [sys.executable, "-I", "-S", "-c", OUTSIDE]
    done = subprocess.run(outside, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "lacks the package" in done.stderr
    assert ".venv/bin/gatehouse" in done.stderr
    assert "Traceback" not in done.stderr
