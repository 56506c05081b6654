"""What a container may do: the whole body of its creation in one place, and the check that it came out so.

Whoever has a shell in it is a stranger. So it has no capability, no way to gain one, a read-only system, and
a limit to everything that it can use up.
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
    """The body of `POST /containers/create`."""
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
        "SecurityOpt": ["no-new-privileges:true"],  # the default profiles of seccomp and AppArmor stay
        "ReadonlyRootfs": True,
        "Tmpfs": {
            "/tmp": f"rw,nosuid,nodev,size={settings.box_tmp}",  # noqa: S108 - inside; compilers execute there
            "/run": f"rw,nosuid,nodev,noexec,size={RUN_TMP_BYTES}",
        },
        "Binds": [
            f"{place.home}:{HOME}:rw",  # no capability makes a device, and no file gains privileges
            f"{settings.holder}:{HOLDER}:ro",
            f"{place.run}:{RUN}:ro",  # the socket can be connected to, and not be replaced
        ],
        "Devices": [],
        "PidMode": "",
        "IpcMode": "private",
        "UTSMode": "",
        "PidsLimit": settings.box_pids,
        "Memory": settings.box_memory,
        "MemorySwap": settings.box_memory,  # no swap beside it
        "NanoCpus": int(settings.box_cpus * 1e9),
        "CpuShares": 512,
        "OomScoreAdj": 500,  # before any service of the host
        "Ulimits": [
            {"Name": "core", "Soft": 0, "Hard": 0},
            {"Name": "nofile", "Soft": 4096, "Hard": 8192},
        ],
        "Init": True,  # reaps what background jobs leave
        "NetworkMode": network,
        "PortBindings": {},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": False,  # it would take along why a box ended
        "LogConfig": {"Type": "none", "Config": {}},
        "Runtime": settings.box_runtime or None,
    }


def digest(wanted: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """What a container has that was not asked for, by its inspection."""
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
        return True  # whatever the engine has as its default
    if name == "Labels":  # an image may have labels of its own
        return all((found or {}).get(key) == value for key, value in wanted.items())
    if name == "Env":  # an image may set more, but nothing that was asked for otherwise
        return set(wanted) <= set(found or ())
    if name == "Ulimits":
        return sorted(map(_sorted_items, wanted)) == sorted(map(_sorted_items, found or ()))
    return bool(wanted == found or (not wanted and not found))


def _sorted_items(limit: Mapping[str, Any]) -> list[tuple[str, str]]:
    return sorted((key, str(value)) for key, value in limit.items())
