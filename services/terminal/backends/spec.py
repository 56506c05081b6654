"""The specification of a container: the complete creation request, and the check of the result.

Users of a shell are not trusted. The container therefore has no capabilities, no way to gain any, a read-only
root file system, and a limit on every resource.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from services.terminal.backends.base import Place
from services.terminal.settings import Settings

LABEL = "gatehouse."
HOME = "/home/user"
INSIDE = "/gatehouse"  # where the holder and the socket of the box are
HOLDER = f"{INSIDE}/holder"
RUN = f"{INSIDE}/run"
RUN_TMP_BYTES = 16 << 20
ENVIRONMENT = {
    "HOME": HOME,
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "SHELL": "/bin/bash",
    "TERM": "xterm-256color",
    "LANG": "C.UTF-8",
}


def body(place: Place, settings: Settings, *, instance: str, user: str, network: str) -> dict[str, Any]:
    """Build the body of `POST /containers/create`."""
    wanted = {
        "Image": settings.box_image,
        "User": user,
        "Env": [f"{name}={value}" for name, value in ENVIRONMENT.items()],
        "WorkingDir": HOME,
        "Entrypoint": ["/bin/sleep"],
        "Cmd": ["infinity"],
        "Hostname": "workspace",
        "StopTimeout": 5,
        "HostConfig": _host_config(place, settings, network),
    }
    labels = {
        f"{LABEL}instance": instance,
        f"{LABEL}owner": place.owner,
        f"{LABEL}box": place.box_id,
        f"{LABEL}spec": digest(wanted),
    }
    return {**wanted, "Labels": labels}


def _host_config(place: Place, settings: Settings, network: str) -> dict[str, Any]:
    return {
        "Privileged": False,
        "CapDrop": ["ALL"],
        "CapAdd": None,
        "SecurityOpt": ["no-new-privileges:true"],  # the default seccomp and AppArmor profiles stay active
        "ReadonlyRootfs": True,
        "Tmpfs": {
            "/tmp": f"rw,nosuid,nodev,size={settings.box_tmp}",  # noqa: S108 - in the container; exec for compilers
            "/run": f"rw,nosuid,nodev,noexec,size={RUN_TMP_BYTES}",
        },
        "Binds": [
            f"{place.home}:{HOME}:rw",  # without capabilities no device files and no setuid
            f"{settings.holder}:{HOLDER}:ro",
            f"{place.run}:{RUN}:ro",  # the socket accepts connections but cannot be replaced
        ],
        "Devices": [],
        "PidMode": "",
        "IpcMode": "private",
        "UTSMode": "",
        "PidsLimit": settings.box_pids,
        "Memory": settings.box_memory,
        "MemorySwap": settings.box_memory,  # no additional swap
        "NanoCpus": int(settings.box_cpus * 1e9),
        "CpuShares": 512,
        "OomScoreAdj": 500,  # killed before any service of the host
        "Ulimits": [
            {"Name": "core", "Soft": 0, "Hard": 0},
            {"Name": "nofile", "Soft": 4096, "Hard": 8192},
        ],
        "Init": True,  # reaps orphaned background jobs
        "NetworkMode": network,
        "PortBindings": {},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": False,  # would delete the reason why a box ended
        "LogConfig": {"Type": "none", "Config": {}},
        "Runtime": settings.box_runtime or None,
    }


def digest(wanted: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """List the settings of a created container that differ from the request."""
    config, host = found["Config"], found["HostConfig"]
    faults = [
        f"{name}: {config.get(name)!r}"
        for name in ("Image", "User", "Env", "WorkingDir", "Entrypoint", "Cmd", "Labels")
        if not _is_same(wanted[name], config.get(name), name)
    ]
    return faults + [
        f"HostConfig.{name}: {host.get(name)!r}"
        for name, value in wanted["HostConfig"].items()
        if not _is_same(value, host.get(name), name)
    ]


def _is_same(wanted: Any, found: Any, name: str) -> bool:
    if name == "Runtime" and wanted is None:
        return True  # the engine's default
    if name == "Labels":  # the image may add labels
        return all((found or {}).get(key) == value for key, value in wanted.items())
    if name == "Env":  # the image may add variables, but not override requested ones
        return set(wanted) <= set(found or ())
    if name == "Ulimits":
        return sorted(map(_sorted_items, wanted)) == sorted(map(_sorted_items, found or ()))
    return bool(wanted == found or (not wanted and not found))


def _sorted_items(limit: Mapping[str, Any]) -> list[tuple[str, str]]:
    return sorted((key, str(value)) for key, value in limit.items())
