"""Which programs there are, and the environment that each of them gets."""

import os
import sys
from pathlib import Path

import pytest

from gatehouse import programs
from gatehouse.programs import own_environment
from shared.process.settings import SettingsFaults

MODULES = {"orders": "services.orders", "users": "services.users", "gateway": "gateway"}
SETTINGS = """
from typing import ClassVar
from shared.process.settings import ServiceSettings

class Settings(ServiceSettings):
    service: ClassVar[str] = "{name}"
    port: int = {port}
"""


@pytest.mark.parametrize(
    ("given", "orders", "users"),
    [
        ({"LOG_LEVEL": "debug"}, {"LOG_LEVEL": "debug"}, {"LOG_LEVEL": "debug"}),
        ({"ORDERS_PORT": "1"}, {"PORT": "1"}, {}),
        ({"ORDERS_DATABASE_URL": "x"}, {"DATABASE_URL": "x"}, {}),
        ({"ORDERS_DATABASE_URL_FILE": "x"}, {"DATABASE_URL_FILE": "x"}, {}),
        ({"ORDERS_LOG_LEVEL": "error", "LOG_LEVEL": "info"}, {"LOG_LEVEL": "error"}, {"LOG_LEVEL": "info"}),
        ({"PORT": "1", "HOST": "h", "DATABASE_URL": "d"}, {}, {}),
        ({"DATABASE_URL_FILE": "f", "PORT_FILE": "f", "port": "1"}, {}, {}),
        ({"GATEWAY_WORKERS": "4"}, {}, {}),
        ({"ORDERS_URL": "u"}, {"ORDERS_URL": "u", "URL": "u"}, {"ORDERS_URL": "u"}),
        ({"ORDERS": "x", "ORDERSX": "y"}, {"ORDERS": "x", "ORDERSX": "y"}, {"ORDERS": "x", "ORDERSX": "y"}),
    ],
)
def test_prefixed_variables_reach_only_their_program(
    given: dict[str, str], orders: dict[str, str], users: dict[str, str]
) -> None:
    assert own_environment("orders", MODULES, given) == orders
    assert own_environment("users", MODULES, given) == users


def test_programs_are_found_by_their_folders(tmp_path: Path) -> None:
    for folder in ("services/users", "services/orders", "services/half_done", "gateway"):
        (tmp_path / folder).mkdir(parents=True)
    for folder in ("services/users", "services/orders"):
        (tmp_path / folder / "__main__.py").touch()

    assert list(programs.find(tmp_path).items()) == list(MODULES.items())


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two programs in a folder, with unique names."""
    for module, name, port in (("one", "one", 18101), ("gateway", "gateway", 18102)):
        folder = tmp_path / (f"services/{name}" if name == "one" else module)
        folder.mkdir(parents=True)
        (folder / "__main__.py").touch()
        (tmp_path / f"toy_{name}.py").write_text(SETTINGS.format(name=name, port=port))
    monkeypatch.syspath_prepend(str(tmp_path))
    for module, file in (("services.one.settings", "toy_one"), ("gateway.settings", "toy_gateway")):
        monkeypatch.setitem(sys.modules, module, __import__(file))
    for file in ("toy_one", "toy_gateway"):
        monkeypatch.delitem(sys.modules, file)
    return tmp_path


def test_each_program_gets_the_urls_of_the_others(suite: Path) -> None:
    given = {"DATA_DIR": str(suite / "data"), "ONE_PORT": "18103", "GATEWAY_HOST": "127.0.0.2"}
    before = dict(os.environ)
    one, gateway = programs.load(suite, given)

    assert [one.name, gateway.name] == ["one", "gateway"]
    assert one.url == "http://127.0.0.1:18103"
    assert gateway.url == "http://127.0.0.2:18102"
    assert gateway.environment["ONE_URL"] == one.url
    assert one.environment["PORT"] == "18103"
    assert "PORT" not in gateway.environment
    assert dict(os.environ) == before


def test_explicit_url_takes_precedence(suite: Path) -> None:
    given = {"DATA_DIR": str(suite / "data"), "ONE_URL": "http://elsewhere"}

    assert all(p.environment["ONE_URL"] == "http://elsewhere" for p in programs.load(suite, given))


def test_faults_of_all_programs_are_listed_together(suite: Path) -> None:
    given = {"DATA_DIR": str(suite / "data"), "ONE_LOG_LEVEL": "loud", "GATEWAY_DATABASE_POOL": "x"}
    before = dict(os.environ)
    with pytest.raises(SettingsFaults) as raised:
        programs.load(suite, given)

    told = str(raised.value).splitlines()
    assert told[0] == "The settings are invalid:"
    assert [line.split(":")[0] for line in told[1:]] == ["  ONE_LOG_LEVEL", "  GATEWAY_DATABASE_POOL"]
    assert [line.rpartition(" ")[2] for line in told[1:]] == ["(one)", "(gateway)"]
    assert dict(os.environ) == before


def test_fault_of_all_programs_is_listed_once(suite: Path) -> None:
    with pytest.raises(SettingsFaults) as raised:
        programs.load(suite, {"DATA_DIR": str(suite / "data"), "LOG_LEVEL": "loud"})

    assert raised.value.faults == ["LOG_LEVEL: must be one of debug, info, warning or error"]


def test_variables_without_effect_are_reported(suite: Path) -> None:
    good = {"DATA_DIR": str(suite / "data"), "ONE_PORT": "18103", "ONE_URL": "http://elsewhere"}
    given = good | {
        "DATABASE_URL": "x",
        "port": "1",
        "ONE_LOG_LEVEL_FILE": "f",
        "GATEWAY_PROT": "1",
        "ON": "x",
    }
    found = programs.load(suite, good)

    assert programs.without_effect(found, good) == []
    why = "because it applies to one process"
    assert programs.without_effect(found, given) == [
        f"DATABASE_URL has no effect, {why}: use ONE_DATABASE_URL, GATEWAY_DATABASE_URL",
        f"port has no effect, {why}: use ONE_PORT, GATEWAY_PORT",
        "GATEWAY_PROT has no effect: gateway has no setting PROT",
    ]
