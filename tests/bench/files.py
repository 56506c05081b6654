"""`python -m tests.bench.files`: uploads and downloads through the gateway, compared with nginx.

The servers under test run on one core: the gateway with the files service, or nginx alone. The load runs on
the other core. The service also hashes uploads, waits for fsync and checks access; nginx only stores and
serves files. Compare the ratios, not the absolute numbers.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.bench.processes import LOAD_CORE, SERVER_CORE, Server, Suite, on_core, resident_mib, stopping
from tests.support import eventually, free_port

MIB = 1 << 20
FILE_BYTES = 256 * MIB
LARGE_BYTES = 2048 * MIB
ROUNDS = 5
FEW, MANY = 100, 10_000
LISTS = 50
WANTED = 0.5
SETTINGS = {
    "FILES_MAX_FILE_SIZE": str(4096 * MIB),
    "FILES_RESUMABLE_MAX_SIZE": str(4096 * MIB),
    "FILES_QUOTA_BYTES": str(64 * 1024 * MIB),
}


def main() -> None:
    missing = [name for name in ("curl", "nginx") if shutil.which(name) is None]
    if missing:
        sys.exit(f"the files bench needs {', '.join(missing)}: apt-get install {' '.join(missing)}")
    os.environ.update(SETTINGS)
    with tempfile.TemporaryDirectory(prefix="gatehouse-bench-") as name:
        folder = Path(name)
        backend = Server("tests.bench.backend", folder)
        suite = Suite(folder, backend.url(""))
        with stopping(backend), stopping(suite), nginx(folder / "nginx") as peer:
            token = _register(suite)
            _speeds(folder, suite, peer, token)
            _large(folder, suite, token)
            _numbers(suite, token)


def _speeds(folder: Path, suite: Suite, peer: str, token: str) -> None:
    source = _file(folder / "source", FILE_BYTES)
    shutil.copy(source, folder / "nginx" / "served")
    files = suite.url("gateway", "/files")
    authorized = ["-H", f"Authorization: Bearer {token}"]
    made = json.loads(_curl([*authorized, "-F", f"file=@{source}", files]))
    sides: dict[str, tuple[Callable[[], float], Callable[[], float]]] = {
        "download": (
            lambda: _speed("speed_download", [*authorized, f"{files}/{made['id']}"]),
            lambda: _speed("speed_download", [f"{peer}/served"]),
        ),
        "upload": (
            lambda: _speed("speed_upload", [*authorized, "-F", f"file=@{source}", files]),
            lambda: _speed("speed_upload", ["-T", str(source), f"{peer}/stored"]),
        ),
    }
    print(f"\nFiles of {FILE_BYTES // MIB} MiB, MiB/s, median of {ROUNDS} rounds\n")
    print(f"{'':<16}{'gatehouse':>12}{'nginx':>12}{'ratio':>8}")
    for name, (ours, theirs) in sides.items():
        rounds = [(ours(), theirs()) for _ in range(ROUNDS)]
        our, their = (statistics.median(side) for side in zip(*rounds, strict=True))
        verdict = "" if our / their >= WANTED else f"   NOT REACHED, wanted {WANTED}"
        print(f"{name:<16}{our:>12,.0f}{their:>12,.0f}{our / their:>8.2f}{verdict}")


def _large(folder: Path, suite: Suite, token: str) -> None:
    """Measure the upload of one large file as a form, and its peak memory."""
    source = _file(folder / "large", LARGE_BYTES)
    before = {name: resident_mib(suite.pids[name]) for name in ("gateway", "files")}
    started = time.monotonic()
    url = suite.url("gateway", "/files")
    made = json.loads(_curl(["-H", f"Authorization: Bearer {token}", "-F", f"file=@{source}", url]))
    stored = time.monotonic() - started
    _speed("speed_download", ["-H", f"Authorization: Bearer {token}", f"{url}/{made['id']}"])
    source.unlink()
    print(f"\n{LARGE_BYTES // MIB} MiB stored in {stored:.1f} s; resident MiB before and at most:")
    for name, resident in before.items():
        print(f"{name:<16}{resident:>12.0f}{_peak_mib(suite.pids[name]):>12.0f}")


def _numbers(suite: Suite, token: str) -> None:
    """Measure listing and downloading with few files and with many."""
    token = _register(suite)
    url, headers = suite.url("files", "/files"), {"Authorization": f"Bearer {token}"}
    print(f"\n{'files':<16}{'list ms':>12}{'download ms':>12}")
    made = 0
    for number in (FEW, MANY):
        with ThreadPoolExecutor(8) as pool:
            ids = [*pool.map(lambda _: _upload_small(url, token), range(number - made))]
        made = number
        listing = _milliseconds(f"{url}?limit=50", headers)
        download = _milliseconds(f"{url}/{ids[0]}", headers)
        print(f"{number:<16}{listing:>12.2f}{download:>12.2f}")


def _upload_small(url: str, token: str) -> str:
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nhello\r\n--b--\r\n'
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "multipart/form-data; boundary=b"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as response:
        made: str = json.load(response)["id"]
        return made


def _milliseconds(url: str, headers: dict[str, str]) -> float:
    def once() -> float:
        started = time.perf_counter()
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as response:
            response.read()
        return (time.perf_counter() - started) * 1000

    return statistics.median(once() for _ in range(LISTS))


def _register(suite: Suite) -> str:
    account = {"email": f"bench{time.monotonic_ns()}@example.com", "password": "correct horse"}
    request = urllib.request.Request(
        suite.url("auth", "/auth/register"),
        json.dumps(account).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        token: str = json.load(response)["token"]
        return token


def _file(path: Path, size: int) -> Path:
    block = os.urandom(MIB)
    with path.open("wb") as handle:
        for _ in range(size // MIB):
            handle.write(block)
    return path


def _curl(words: list[str]) -> str:
    command = on_core(LOAD_CORE, ["curl", "-sS", "--fail-with-body", *words])
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _speed(figure: str, words: list[str]) -> float:
    """Run curl and return a transfer speed in MiB/s."""
    return float(_curl(["-o", os.devnull, "-w", f"%{{{figure}}}", *words])) / MIB


def _peak_mib(pid: int) -> float:
    (kib,) = re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(kib) / 1024


@contextmanager
def nginx(folder: Path) -> Iterator[str]:
    """Run nginx, which serves a directory and stores files PUT there; yields its URL."""
    folder.mkdir(mode=0o777)
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(f"""\
{"user root;" if os.getuid() == 0 else ""}
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; sendfile on; client_max_body_size 0; client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/1; fastcgi_temp_path {folder}/2;
  uwsgi_temp_path {folder}/3; scgi_temp_path {folder}/4;
  server {{ listen 127.0.0.1:{port}; root {folder}; dav_methods PUT; }}
}}
""")
    command = ["nginx", "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
    process = subprocess.Popen(on_core(SERVER_CORE, command))
    address = f"http://127.0.0.1:{port}"
    try:
        if not eventually(_answering(f"{address}/nginx.conf"), seconds=10):
            sys.exit(f"nginx did not start:\n{(folder / 'error.log').read_text()}")
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


def _answering(url: str) -> Callable[[], bool]:
    def answers() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return True
        except OSError:
            return False

    return answers


if __name__ == "__main__":
    main()
