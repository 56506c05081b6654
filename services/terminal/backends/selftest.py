"""The self-test of isolation: a program that tries to break out of a box, and reports what it could do.

The program runs inside a box of its own, with Python 3.9 and the standard library, as the shells' user. Every
check has a name, whether the box holds, and what was seen.
"""

import json
from collections.abc import Mapping
from typing import Any

from services.terminal.backends import spec
from services.terminal.settings import Settings

SECONDS = 120.0

_PROGRAM = r"""
import json, os, signal, socket, sys
wanted = json.loads(sys.argv[1])
checks = []

def check(name, holds, seen=""):
    checks.append({"name": name, "holds": bool(holds), "seen": str(seen)[:200]})

status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
    check("no capabilities: " + name, int(status[name], 16) == 0, status[name])
check("no new privileges", status["NoNewPrivs"] == "1", status["NoNewPrivs"])
if wanted["seccomp"]:
    check("system calls are filtered", status.get("Seccomp") == "2", status.get("Seccomp"))
check("not root", os.getuid() != 0, os.getuid())

def writable(folder):
    path = os.path.join(folder, ".selftest")
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        os.unlink(path)
        return True
    except OSError:
        return False

ours = [wanted["inside"] + "/holder", wanted["inside"] + "/run"]
for folder in ("/", "/etc", "/usr", "/proc/sys", "/sys", *ours):
    check("read-only: " + folder, not writable(folder))
try:
    open("/proc/sys/kernel/core_pattern", "w").close()
    check("kernel settings are read-only", False)
except OSError as error:
    check("kernel settings are read-only", True, error)
check("no socket of the engine", not any(map(os.path.exists, ("/var/run/docker.sock", "/run/docker.sock"))))
mounts = [line.split()[4] for line in open("/proc/self/mountinfo")]
ours = [one for one in mounts if one.startswith(wanted["inside"]) or one == wanted["home"]]
check("only its own folders are mounted", sorted(ours) == sorted(wanted["mounts"]), ours)
words = ("SECRET", "PASSWORD", "TOKEN", "DATABASE")
secret = [name for name in os.environ if any(word in name for word in words)]
check("no secrets in the environment", not secret, secret)

def reaches(host, port):
    try:
        socket.create_connection((host, port), 1.0).close()
        return True
    except OSError as error:
        return isinstance(error, ConnectionRefusedError)

for host, port in (("169.254.169.254", 80), ("10.0.0.1", 80), ("192.168.0.1", 80), ("1.1.1.1", 53)):
    check("no network to " + host, wanted["network"] == "internet" or not reaches(host, port))

def in_child(work):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def fill_memory():
    kept = []
    for _ in range(2 * wanted["memory"] // (1 << 20)):
        kept.append(bytearray(os.urandom(4096) * 256))
    return 7

def fill_tmp():
    total = 0
    try:
        with open("/tmp/selftest", "wb") as file:
            while total < 2 * wanted["tmp"]:
                total += file.write(bytes(1 << 20))
                file.flush()
    except OSError:
        pass
    finally:
        os.unlink("/tmp/selftest")
    return 0 if total <= wanted["tmp"] else 7

def fork_bomb():
    os.setsid()
    children = []
    try:
        for _ in range(2 * wanted["pids"]):
            child = os.fork()
            if child == 0:
                signal.pause()
            children.append(child)
        return 7
    except OSError:
        return 0
    finally:
        for child in children:
            os.kill(child, 9)

code = in_child(fill_tmp)
check("temporary files stop at their limit", code == 0, code)
code = in_child(fork_bomb)
check("processes stop at their limit", code == 0, code)
code = in_child(fill_memory)
check("memory stops at its limit", code == -9, code)
print(json.dumps(checks))
"""


def command(settings: Settings) -> list[str]:
    """Return the command that runs the program in a box."""
    wanted = {
        "inside": spec.INSIDE,
        "home": spec.HOME,
        "mounts": [spec.HOME, spec.HOLDER, spec.RUN],
        "network": settings.box_network,
        "memory": settings.box_memory,
        "tmp": settings.box_tmp,
        "pids": settings.box_pids,
        "seccomp": not settings.box_runtime,  # a sandbox such as gVisor filters in its own kernel
    }
    return ["python3", "-I", "-S", "-B", "-c", _PROGRAM, json.dumps(wanted)]


def verdicts(code: int, output: str) -> list[Mapping[str, Any]]:
    """Read the program's report; if the program died, the last check has failed."""
    try:
        checks = json.loads(output.strip().splitlines()[-1])
        found = [
            {"name": str(one["name"]), "holds": one["holds"] is True, "seen": str(one["seen"])}
            for one in checks
        ]
    except (ValueError, LookupError, TypeError):
        found = []
    complete = code == 0 and bool(found)
    return [*found, {"name": "the self-test ran to its end", "holds": complete, "seen": f"exit code {code}"}]
