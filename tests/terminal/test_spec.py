"""The specification of a container, and the comparison with its inspection."""

import copy
from pathlib import Path
from typing import Any

import pytest

from services.terminal.backends import spec
from services.terminal.backends.base import Place
from services.terminal.settings import Settings

PLACE = Place("box", "ann", Path("/data/boxes/box"), Path("/homes/ann"))


@pytest.fixture
def wanted(tmp_path: Path) -> dict[str, Any]:
    settings = Settings.model_validate({"data_dir": tmp_path, "box_backend": "docker"})
    return spec.body(PLACE, settings, instance="one", user="1000:1000", network="none")


def inspected(wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the container as an engine's inspection shows it."""
    shown = copy.deepcopy(wanted)
    host = shown.pop("HostConfig")
    shown["Env"] = [*shown["Env"], "IMAGE=more"]
    shown["Labels"] |= {"of": "the image"}
    host |= {"CapAdd": [], "Devices": None, "Ulimits": host["Ulimits"][::-1], "Runtime": "runc"}
    return {"Config": shown, "HostConfig": host}


def test_container_as_specified_has_no_differences(wanted: dict[str, Any]) -> None:
    assert spec.differences(wanted, inspected(wanted)) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Privileged", True),
        ("CapDrop", None),
        ("CapAdd", ["SYS_ADMIN"]),
        ("SecurityOpt", ["no-new-privileges:true", "seccomp=unconfined"]),
        ("ReadonlyRootfs", False),
        ("Memory", 0),
        ("MemorySwap", -1),
        ("PidsLimit", 0),
        ("NanoCpus", 0),
        ("Binds", ["/:/host"]),
        ("NetworkMode", "host"),
        ("PidMode", "host"),
        ("IpcMode", "host"),
        ("UTSMode", "host"),
        ("Devices", [{"PathOnHost": "/dev/sda"}]),
        ("PortBindings", {"22/tcp": [{"HostPort": "22"}]}),
        ("Ulimits", None),
        ("Init", False),
        ("RestartPolicy", {"Name": "always"}),
    ],
)
def test_container_with_additional_rights_is_found(wanted: dict[str, Any], name: str, value: object) -> None:
    shown = inspected(wanted)
    shown["HostConfig"][name] = value

    assert spec.differences(wanted, shown) == [f"HostConfig.{name}: {value!r}"]


@pytest.mark.parametrize("change", [{"User": ""}, {"User": "0"}, {"Env": []}, {"Labels": {}}, {"Image": "x"}])
def test_container_with_other_settings_is_found(wanted: dict[str, Any], change: dict[str, Any]) -> None:
    shown = inspected(wanted)
    shown["Config"] |= change

    assert len(spec.differences(wanted, shown)) == 1


def test_changed_limits_change_the_digest_of_the_spec(tmp_path: Path) -> None:
    digests = set()
    for pids in (100, 200):
        values = {"data_dir": tmp_path, "box_backend": "docker", "box_pids": pids}
        settings = Settings.model_validate(values)
        body = spec.body(PLACE, settings, instance="one", user="1000:1000", network="none")
        digests.add(body["Labels"]["gatehouse.spec"])

    assert len(digests) == 2
