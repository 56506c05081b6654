"""PostgreSQL and Redis inside the cluster, for one node."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gatehouse.kubernetes import objects, pods
from gatehouse.kubernetes.objects import DATABASE, REDIS, Manifest, labels, manifest
from gatehouse.kubernetes.suite import Suite

POSTGRES_IMAGE, POSTGRES_PORT = "postgres:15-bookworm", 5432
REDIS_IMAGE, REDIS_PORT = "redis:7-bookworm", 6379
SERVER_USER = 999  # of both published images
SCRIPTS = "/opt/gatehouse"


def postgres(suite: Suite) -> Iterator[Manifest]:
    name = "postgres"
    passwords = [
        variable.given
        for program in suite.services
        for variable in program.variables
        if variable.name == "DATABASE_URL"
    ]
    container = {
        "image": POSTGRES_IMAGE,
        "env": [
            {"name": "POSTGRES_USER", "value": "postgres"},
            # A subfolder, because the volume itself has a folder lost+found.
            {"name": "PGDATA", "value": "/var/lib/postgresql/data/pgdata"},
            *(_secret(name, key) for key in ("POSTGRES_PASSWORD", *passwords)),
        ],
        **_probed(["pg_isready", "--quiet", "--host=127.0.0.1", "--username=postgres"]),
        "resources": pods.limits("250m", "512Mi", "2Gi"),
    }
    volumes = {
        "/tmp": pods.temporary("1Gi"),  # noqa: S108 - a folder in the container
        "/var/run/postgresql": pods.temporary("16Mi"),
        "/dev/shm": {"emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}},  # noqa: S108
        "/docker-entrypoint-initdb.d": {"configMap": {"name": "postgres-init", "defaultMode": 0o555}},
    }
    script = _script(suite.root, "postgres-init.sh")
    yield objects.config("postgres-init", {"10-services.sh": script})
    yield from _server(name, POSTGRES_PORT, container, volumes, "/var/lib/postgresql/data", "50Gi")


def redis(suite: Suite) -> Iterator[Manifest]:
    name = "redis"
    ping = "redis-cli --user services --no-auth-warning ping | grep -q PONG"
    password = _secret(name, "REDIS_PASSWORD")
    container = {
        "image": REDIS_IMAGE,
        "command": ["/bin/sh", f"{SCRIPTS}/redis-start.sh"],
        "args": ["--appendonly", "yes", "--dir", "/data"],
        "env": [
            password,
            {**password, "name": "REDISCLI_AUTH"},
            _secret(name, "REDIS_GATEWAY_PASSWORD"),
            {"name": "REDIS_USERS_FILE", "value": "/tmp/users.acl"},  # noqa: S108
        ],
        **_probed(["/bin/sh", "-c", ping]),
        "resources": pods.limits("100m", "128Mi", "512Mi"),
    }
    volumes = {"/tmp": pods.temporary("16Mi"), SCRIPTS: {"configMap": {"name": "redis-start"}}}  # noqa: S108
    yield objects.config("redis-start", {"redis-start.sh": _script(suite.root, "redis-start.sh")})
    yield from _server(name, REDIS_PORT, container, volumes, "/data", "5Gi")


def _server(
    name: str, port: int, container: Manifest, volumes: dict[str, Manifest], data: str, size: str
) -> Iterator[Manifest]:
    mounts = [{"name": pods.volume_name(path), "mountPath": path} for path in volumes]
    main = {
        "name": name,
        **container,
        "ports": [{"name": name, "containerPort": port}],
        "securityContext": pods.CONFINED,
        "volumeMounts": [*mounts, {"name": "data", "mountPath": data}],
    }
    template = pods.pod(name, [main], volumes, user=SERVER_USER)
    spec: dict[str, Any] = {
        "replicas": 1,
        "selector": {"matchLabels": labels(name)},
        "serviceName": name,
        "template": template,
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": objects.claim_spec(size)}],
    }
    yield objects.account(name)
    yield manifest("StatefulSet", "apps/v1", name, spec=spec)
    served = {"selector": labels(name), "ports": [{"name": name, "port": port, "targetPort": name}]}
    yield manifest("Service", "v1", name, spec=served)
    used_by = {DATABASE if port == POSTGRES_PORT else REDIS: "yes"}
    callers = [{"podSelector": {"matchLabels": used_by}}]
    yield objects.policy(name, labels(name), ingress=[{"from": callers, "ports": objects.ports(port)}])
    yield objects.policy(
        f"to-{name}", used_by, egress=[{"to": objects.pods(name), "ports": objects.ports(port)}]
    )


def _probed(command: list[str]) -> Manifest:
    check = {"exec": {"command": command}, "timeoutSeconds": 10}
    return {
        "startupProbe": {**check, "periodSeconds": 2, "failureThreshold": 60},
        "readinessProbe": {**check, "periodSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {**check, "periodSeconds": 10, "failureThreshold": 6},
    }


def _secret(name: str, key: str) -> Manifest:
    return {"name": key, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}


def _script(root: Path, name: str) -> str:
    return (root / "deploy" / name).read_text()
