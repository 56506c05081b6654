"""deploy/stack.yml and deploy/gatehouse.service."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gatehouse import cli, programs, stack
from tests import support
from tests.gatehouse.test_kubernetes import IMAGE_SETTINGS, PROGRAMS, SERVICES, env_file, settings_of
from tests.shared.processes import ROOT

STACK: dict[str, Any] = yaml.safe_load((ROOT / stack.FILE).read_text())
CONTAINERS: dict[str, dict[str, Any]] = STACK["services"]
DATA = {name for name, program in PROGRAMS.items() if program.keeps_data}
UNIT = ROOT / "deploy/gatehouse.service"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What `gatehouse stack --to` writes from a new .env."""
    env = tmp_path / ".env"
    env.write_text("".join(f"{name}={value}\n" for name, value in env_file().items()))
    made = tmp_path / "swarm"
    assert (
        cli.main(["stack", "--to", str(made), "--env", str(env), "--registry", "registry.example.com"]) == 0
    )
    return made


def test_file_is_the_one_that_the_command_draws() -> None:
    assert (ROOT / stack.FILE).read_text() == stack.drawn(ROOT), "run `gatehouse stack`"


def test_docker_accepts_the_stack(folder: Path) -> None:
    (docker,) = support.need("docker")
    known = subprocess.run([docker, "stack", "--help"], capture_output=True, text=True, check=False).stdout
    if not re.search(r"^ +config ", known, re.MULTILINE):
        pytest.skip("this version of docker has no `stack config`")
    command = [docker, "stack", "config", "--compose-file", str(folder / "stack.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    shown = yaml.safe_load(done.stdout)
    assert shown["services"].keys() == PROGRAMS.keys() | {"postgres", "redis"}
    (check,) = shown["services"]["redis"]["healthcheck"]["test"][1:]
    assert check.startswith("REDISCLI_AUTH=$(cat"), "a reference of the shell was replaced"


@pytest.mark.parametrize("name", CONTAINERS)
def test_container_is_confined_and_bounded(name: str) -> None:
    container = CONTAINERS[name]
    deploy = container["deploy"]

    assert (container["read_only"], container["cap_drop"]) == (True, ["ALL"])
    assert "cap_add" not in container or name in ("postgres", "redis")
    assert re.fullmatch(r"\d+[MG]", deploy["resources"]["limits"]["memory"])
    assert deploy["update_config"]["failure_action"] == "rollback"
    assert re.search(r":[\w.-]+$", container["image"])
    if name in DATA | {"postgres", "redis"}:
        assert deploy["placement"] == {"constraints": ["node.labels.gatehouse == data"]}
        assert "replicas" not in deploy
    assert ("ports" in container) == (name == "gateway")


def test_page_names_the_containers_that_stop_before_the_new_ones_run() -> None:
    first = {
        name
        for name, container in CONTAINERS.items()
        if container["deploy"]["update_config"]["order"] == "stop-first"
    }
    (said,) = re.findall(r"The old task stops first.*?\.", (ROOT / "docs/swarm.md").read_text(), re.DOTALL)

    assert set(re.findall(r"`([\w-]+)`", said)) == first


def test_each_container_can_reach_only_those_it_calls() -> None:
    for name in SERVICES:
        assert set(CONTAINERS[name]["networks"]) == {"services", "redis", "database"}
    assert CONTAINERS["gateway"]["networks"] == ["services", "redis"]
    assert (CONTAINERS["postgres"]["networks"], CONTAINERS["redis"]["networks"]) == (["database"], ["redis"])
    assert STACK["networks"]["database"]["internal"] is STACK["networks"]["redis"]["internal"] is True


def test_every_program_accepts_the_settings_and_secrets_of_its_container(folder: Path) -> None:
    drawn = yaml.safe_load((folder / "stack.yml").read_text())
    private = folder / "secrets"
    given = env_file()
    for name in PROGRAMS:
        container = drawn["services"][name]
        sources = {one["target"]: one["source"] for one in container["secrets"]}
        environment = {}
        for key, value in container["environment"].items():
            if key.endswith("_FILE") and value.startswith("/run/secrets/"):
                source = sources.pop(Path(value).name)
                assert drawn["secrets"][source] == {"file": f"./secrets/{source}"}
                environment[key] = str(private / source)
            else:
                environment[key] = re.sub(r"\$\{\w+:-(.*)\}", r"\1", value)
        assert sources == {}, "these are never read"
        with programs.environment_of_process({**IMAGE_SETTINGS, **environment}):
            settings = settings_of(name).load()
        assert settings.environment == "production"
        assert settings.internal_secret.get_secret_value() == given["INTERNAL_SECRET"]
        assert container["image"].startswith("registry.example.com/gatehouse/")


def test_secrets_are_private_and_in_no_other_file(folder: Path) -> None:
    drawn = yaml.safe_load((folder / "stack.yml").read_text())
    files = {file.name: file for file in (folder / "secrets").iterdir()}
    values = {file.read_text() for file in files.values()}

    assert {file.stat().st_mode & 0o777 for file in files.values()} == {0o600}
    assert (folder / "secrets").stat().st_mode & 0o777 == 0o700
    assert drawn["secrets"].keys() <= files.keys()
    assert "gateway_metrics_token" in drawn["secrets"], "it is optional, and given"
    assert "gateway_metrics_token" not in STACK["secrets"]
    text = (folder / "stack.yml").read_text()
    assert not any(value in text for value in values)
    for name in stack.SCRIPTS:
        assert (folder / name).read_text() == (ROOT / "deploy" / name).read_text()


def test_container_gets_secrets_only_as_files(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    given = env_file() | {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=of-the-collector"}
    env.write_text("".join(f"{name}={value}\n" for name, value in given.items()))
    made = tmp_path / "swarm"
    assert cli.main(["stack", "--to", str(made), "--env", str(env)]) == 0
    with_key = yaml.safe_load((made / "stack.yml").read_text())

    secret = {one.name for program in PROGRAMS.values() for one in program.variables if one.secret}
    assert {"OTEL_EXPORTER_OTLP_HEADERS", "DATABASE_URL", "INTERNAL_SECRET"} <= secret
    for drawn in (STACK, with_key):
        for name, container in drawn["services"].items():
            assert secret.isdisjoint(container["environment"]), name
    for name in PROGRAMS:
        container = with_key["services"][name]
        file = container["environment"]["OTEL_EXPORTER_OTLP_HEADERS_FILE"]
        assert Path(file).name in {one["target"] for one in container["secrets"]}
    (written,) = {made / one["file"] for name, one in with_key["secrets"].items() if "otel" in name}
    assert written.read_text() == "api-key=of-the-collector"


def test_unit_is_valid_and_confined() -> None:
    (analyze,) = support.need("systemd-analyze")
    command = [analyze, "security", "--offline=true", "--threshold=20", str(UNIT)]
    judged = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    verified = subprocess.run(
        [analyze, "verify", "--man=no", str(UNIT)], capture_output=True, text=True, timeout=60, check=False
    )
    faults = [line for line in verified.stderr.splitlines() if "gatehouse.service" in line]

    assert judged.returncode == 0, judged.stdout
    # The program is not installed on this machine; everything else must be in order.
    assert [line for line in faults if "/opt/gatehouse/bin/gatehouse is not executable" not in line] == []


def test_a_missing_env_file_is_said_with_what_writes_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / ".env"
    for command in (["stack", "--to", str(tmp_path / "stack")], ["kubernetes", "secrets"]):
        assert cli.main([*command, "--env", str(missing)]) == 1
        assert capsys.readouterr().err == f"{missing}: there is no such file; `gatehouse env` writes one\n"
    assert not (tmp_path / "stack").exists()
