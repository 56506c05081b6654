"""The gateway, its peers and their common backend, each configured as its documentation recommends."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gateway import compiled
from shared.testing import TEST_JWT_SECRET
from tests.bench import golang
from tests.bench.gateway.programs import Program, python
from tests.bench.processes import LOAD_CORE, ROOT, SERVER_CORE
from tests.support import free_port

NODE = Path(__file__).parent / "node"
INSTALL_SECONDS = 300
KEEP_ALIVE_REQUESTS = 1_000_000_000
GIB = 1 << 30
ANSWER = (
    '{"id":"0192f3a1-7c5e-7b3a-9d51-5f0c2a7e4b10","status":"healthy","service":"orders",'
    '"timestamp":"2025-01-01T00:00:00.0Z"}'
)
PATH = "/orders/bench"
DOWNLOAD, UPLOAD, SOCKET, LIMITED = "/bench/download", "/bench/upload", "/bench/socket", "/bench/limited"
SLOWLY = f"{PATH}/slowly"
OURS, COMPILED, GO_GATEWAY = "Gatehouse", "Gatehouse, compiled", "Gateway in Go"


@dataclass
class Stage:
    """The running backends, and all proxies that could be started, ours first."""

    folder: Path
    backend: Program
    sink: Program
    proxies: list[Program] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def proxy(self, name: str) -> Program:
        return next(proxy for proxy in self.proxies if proxy.name == name)


@contextmanager
def stage(folder: Path, peers: "dict[str, Start] | None" = None, log: Path | None = None) -> Iterator[Stage]:
    """Start the backends, our gateway and the peers."""
    with ExitStack() as stack:
        backend = stack.enter_context(nginx_backend(folder))
        sink = stack.enter_context(python("tests.bench.gateway.sink", LOAD_CORE, folder, {}))
        made = Stage(folder, backend, sink)
        made.proxies.append(stack.enter_context(gatehouse(made, log)))
        for name, start in (PEERS if peers is None else peers).items():
            try:
                made.proxies.append(stack.enter_context(start(made)))
            except Missing as reason:
                made.missing[name] = str(reason)
        yield made


class Missing(Exception):
    """A peer cannot be started here; the message says what is missing."""


Start = Callable[[Stage], Program]


def nginx_backend(folder: Path) -> Program:
    """Start the backend: a small JSON body for most paths, and a sparse file of one gibibyte."""
    where = folder / "backend"
    where.mkdir()
    with (where / "gibibyte").open("wb") as file:
        file.truncate(GIB)
    port = free_port()
    server = f"""
    location / {{ default_type application/json; return 200 '{ANSWER}'; }}
    location /internal/ {{ return 404; }}
    location {DOWNLOAD} {{ alias {where}/gibibyte; }}
    location {SLOWLY} {{ alias {where}/gibibyte; limit_rate 64k; }}
    """
    return _nginx("nginx as backend", LOAD_CORE, where, port, server)


def gatehouse(stage: Stage, log: Path | None = None, *, is_compiled: bool = False) -> Program:
    """Start our gateway with the real routes and all policies, but with limits that are never reached."""
    routes = (ROOT / "routes.yaml").read_text()
    routes = re.sub(r"rate: \d+/s, burst: \d+", "rate: 1000000/s, burst: 1000000", routes)
    added = f"""
  - {{path: {DOWNLOAD}, backend: "{stage.backend.url}"}}
  - {{path: {UPLOAD}, backend: "{stage.sink.url}", body_max: 2GiB}}
  - {{path: {SOCKET}, backend: "{stage.sink.url}"}}
  - {{path: {LIMITED}, backend: "{stage.backend.url}", rate_limit: {{rate: 1/s}}}}
"""
    name = COMPILED if is_compiled else OURS
    folder = stage.folder / name
    folder.mkdir()
    file = folder / "routes.yaml"
    file.write_text(re.sub(r"^routes:\n", lambda line: line.group() + added, routes, flags=re.MULTILINE))
    environment = {
        "ROUTES_FILE": str(file),
        "DATA_DIR": str(folder / "data"),
        compiled.WISH: "true" if is_compiled else "false",
        "JWT_SECRET": TEST_JWT_SECRET,
        "AUTH_FAILURES_PER_SECOND": "0",  # all load comes from one address
        "LOG_FORMAT": "json",
        "ADMIN_PORT": "0",
        "CONNECTIONS_PER_ADDRESS_MAX": "100000",  # all clients share one address
        **{f"{name}_URL": stage.backend.url for name in ("AUTH", "USERS", "ORDERS")},
    }
    program = python("gateway", SERVER_CORE, folder, environment, log)
    program.name = name
    return program


def compiled_gatehouse(stage: Stage) -> Program:
    try:
        compiled.usable_files(ROOT)
    except compiled.Unusable as error:
        raise Missing(str(error)) from error
    return gatehouse(stage, is_compiled=True)


def nginx(stage: Stage) -> Program:
    """Start nginx as a proxy with upstream keep-alive, and without spooling large bodies to files."""
    folder = stage.folder / "nginx"
    folder.mkdir()
    proxy = """
      proxy_pass http://{upstream};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    """
    stream = "proxy_request_buffering off; proxy_max_temp_file_size 0; client_max_body_size 0;"
    upgrade = proxy.replace('""', "upgrade") + "proxy_set_header Upgrade $http_upgrade;"
    server = f"""
    location / {{ {proxy.format(upstream="backend")} }}
    location {DOWNLOAD} {{ {stream} {proxy.format(upstream="backend")} }}
    location {UPLOAD} {{ {stream} {proxy.format(upstream="sink")} }}
    location {SOCKET} {{ {upgrade.format(upstream="sink")} }}
    """
    upstreams = "".join(
        f"upstream {name} {{ server 127.0.0.1:{program.port}; keepalive 64; "
        f"keepalive_requests {KEEP_ALIVE_REQUESTS}; }}\n"
        for name, program in (("backend", stage.backend), ("sink", stage.sink))
    )
    return _nginx("nginx", SERVER_CORE, folder, free_port(), server, upstreams)


def haproxy(stage: Stage) -> Program:
    port = free_port()
    config = stage.folder / "haproxy.cfg"
    config.write_text(f"""
global
    nbthread 1
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
frontend bench
    bind 127.0.0.1:{port}
    default_backend bench
backend bench
    http-reuse always
    server bench 127.0.0.1:{stage.backend.port}
""")
    command = [_installed("haproxy"), "-db", "-f", str(config)]
    return Program("HAProxy", SERVER_CORE, command, stage.folder / "haproxy.log", port, {})


def caddy(stage: Stage) -> Program:
    port = free_port()
    config = stage.folder / "Caddyfile"
    config.write_text(f"""{{
    admin off
    auto_https off
}}
http://127.0.0.1:{port} {{
    bind 127.0.0.1
    reverse_proxy 127.0.0.1:{stage.backend.port}
}}
""")
    command = [_installed("caddy"), "run", "--config", str(config), "--adapter", "caddyfile"]
    home = {name: str(stage.folder) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    log = stage.folder / "caddy.log"
    return Program("Caddy", SERVER_CORE, command, log, port, {"GOMAXPROCS": "1", **home})


def go_gateway(stage: Stage) -> Program:
    """Start a gateway in Go with a policy of each kind: token, rate limit, metrics, access line."""
    program = stage.folder / "go-gateway"
    try:
        golang.build(golang.SOURCE, program)
    except golang.NotBuilt as error:
        raise Missing(str(error)) from error
    settings = {"BACKEND": stage.backend.url, "JWT_SECRET": TEST_JWT_SECRET, "GOMAXPROCS": "1"}
    return Program(GO_GATEWAY, SERVER_CORE, [str(program)], stage.folder / "go.log", free_port(), settings)


def fastify(stage: Stage) -> Program:
    environment = {"BACKEND": stage.backend.url, "NODE_ENV": "production"}
    return _node("fastify http-proxy", "fastify.cjs", stage.folder, free_port(), environment)


def express_gateway(stage: Stage) -> Program:
    port = free_port()
    folder = stage.folder / "express"
    folder.mkdir()
    (folder / "gateway.config.yml").write_text(f"""
http: {{port: {port}, hostname: 127.0.0.1}}
apiEndpoints: {{bench: {{host: "*"}}}}
serviceEndpoints: {{bench: {{url: "{stage.backend.url}"}}}}
policies: [proxy]
pipelines:
  bench:
    apiEndpoints: [bench]
    policies: [{{proxy: [{{action: {{serviceEndpoint: bench}}}}]}}]
""")
    packaged = _node_modules() / "express-gateway" / "lib" / "config" / "system.config.yml"
    shutil.copy(packaged, folder)
    shutil.copytree(packaged.parent / "models", folder / "models")
    environment = {"CONFIG": str(folder), "LOG_LEVEL": "error", "NODE_ENV": "production"}
    return _node("express-gateway", "express.cjs", stage.folder, port, environment)


def recipe(stage: Stage) -> Program:
    environment = {"BACKEND": stage.backend.url}
    program = python("tests.bench.gateway.recipe", SERVER_CORE, stage.folder, environment)
    program.name = "Starlette + httpx"
    return program


PEERS: dict[str, Start] = {
    COMPILED: compiled_gatehouse,
    "nginx": nginx,
    "HAProxy": haproxy,
    "Caddy": caddy,
    GO_GATEWAY: go_gateway,
    "fastify http-proxy": fastify,
    "express-gateway": express_gateway,
    "Starlette + httpx": recipe,
}


def _installed(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise Missing(f"not installed; apt-get install {program}")
    return found


def _nginx(name: str, core: str, folder: Path, port: int, server: str, more: str = "") -> Program:
    config = folder / "nginx.conf"
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in "client_body proxy fastcgi uwsgi scgi".split()
    )
    # Otherwise the worker's account cannot read the directory.
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(f"""
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests {KEEP_ALIVE_REQUESTS};
  {temporary}
  {more}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    {server}
  }}
}}
""")
    command = [_installed("nginx"), "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
    return Program(name, core, command, folder / "log", port, {})


def _node(name: str, script: str, folder: Path, port: int, environment: dict[str, str]) -> Program:
    modules = _node_modules()
    # Node resolves modules relative to the script.
    where = modules.parent / script
    shutil.copy(NODE / script, where)
    return Program(
        name, SERVER_CORE, [_installed("node"), str(where)], folder / f"{script}.log", port, environment
    )


def _node_modules() -> Path:
    """Install the Node peers once, in the user's cache directory."""
    npm = _installed("npm")
    wanted = (NODE / "package.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "gatehouse-bench" / hashlib.sha256(wanted).hexdigest()[:16]
    if not (folder / "ready").exists():
        sys.stderr.write(f"installing the Node peers into {folder} (once) …\n")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_bytes(wanted)
        options = "--no-audit --no-fund --no-package-lock --ignore-scripts --loglevel=error".split()
        try:
            subprocess.run(
                [npm, "install", *options],
                cwd=folder,
                check=True,
                capture_output=True,
                timeout=INSTALL_SECONDS,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise Missing(f"npm install failed in {folder}: {error}") from error
        (folder / "ready").touch()
    return folder / "node_modules"
