"""Pods: containers with their settings, probes, limits and confinement."""

from collections.abc import Iterable
from typing import Any

from gatehouse.kubernetes.objects import DATABASE, NAME, REDIS, Manifest, labels
from gatehouse.kubernetes.suite import GRACE_SECONDS, NOTICE_SECONDS, Choices, Program, Variable

USER = 10001  # of the Dockerfile
CONFINED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def of_program(program: Program, choices: Choices, *, mounts: dict[str, Manifest], init: bool) -> Manifest:
    """Return the pod of a program. `mounts` maps folders to volumes; /data has one in any case."""
    image = choices.image(f"gatehouse/{program.name}")
    environment = {
        "envFrom": _sources(program.name),
        "env": [variable_reference(one) for one in program.variables],
    }
    volumes = {"/tmp": temporary("1Gi"), **mounts}  # noqa: S108 - a folder in the container
    same = {
        "image": image,
        **environment,
        "resources": limits("100m", "128Mi", program.memory),
        "securityContext": CONFINED,
        "volumeMounts": [{"name": volume_name(path), "mountPath": path} for path in [*volumes, "/data"]],
    }
    main = {
        "name": program.name,
        **same,
        "ports": [{"name": "http", "containerPort": program.port}],
        **_probes(),
        # The pod still serves until every load balancer knows that it ends.
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(NOTICE_SECONDS)]}}},
    }
    migrate = {"name": "migrate", "command": ["python", "-m", "gatehouse", "migrate"], **same}
    return pod(
        program.name,
        [main],
        volumes if program.keeps_data else {**volumes, "/data": temporary("1Gi")},
        user=USER,
        init=[migrate] if init else [],
        uses=(DATABASE, REDIS) if init else (REDIS,),
        spread=True,
    )


def pod(
    name: str,
    containers: list[Manifest],
    volumes: dict[str, Manifest],
    *,
    user: int,
    init: Iterable[Manifest] = (),
    uses: Iterable[str] = (),
    spread: bool = False,
) -> Manifest:
    """Return a pod template that the Pod Security Standard `restricted` accepts."""
    spec: dict[str, Any] = {
        "serviceAccountName": name,
        "automountServiceAccountToken": False,
        # Otherwise the cluster sets variables such as ORDERS_PORT, which are settings here.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": confinement(user),
    }
    if spread:
        spec["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {NAME: name}},
            }
            for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ]
    if init := list(init):
        spec["initContainers"] = init
    spec["containers"] = containers
    spec["volumes"] = [{"name": volume_name(path), **volume} for path, volume in volumes.items()]
    return {"metadata": {"labels": {**labels(name), **dict.fromkeys(uses, "yes")}}, "spec": spec}


def confinement(user: int) -> Manifest:
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def limits(cpu: str, least: str, most: str) -> Manifest:
    """Return resources without a limit on the processor: it would slow down a pod on an idle node."""
    return {"requests": {"cpu": cpu, "memory": least}, "limits": {"memory": most}}


def temporary(size: str) -> Manifest:
    return {"emptyDir": {"sizeLimit": size}}


def volume_name(path: str) -> str:
    return path.strip("/").replace("/", "-").replace(".", "-")


def variable_reference(variable: Variable) -> Manifest:
    if variable.value is not None:
        return {"name": variable.name, "value": variable.value}
    kind, source = ("secretKeyRef", variable.secret) if variable.secret else ("configMapKeyRef", "settings")
    reference: Manifest = {"name": source, "key": variable.key}
    if variable.secret and not variable.is_required:
        reference["optional"] = True
    return {"name": variable.name, "valueFrom": {kind: reference}}


def _sources(name: str) -> list[Manifest]:
    """Return where else settings come from: any setting can be added without a change to the pod."""
    return [
        {"configMapRef": {"name": "addresses"}},
        {"configMapRef": {"name": f"more-{name}", "optional": True}},
        {"secretRef": {"name": f"more-{name}", "optional": True}},
    ]


def _probes() -> Manifest:
    """Return probes. Liveness asks nothing but the process: a restart repairs no database."""
    live = {"httpGet": {"path": "/health/live", "port": "http"}, "timeoutSeconds": 10}
    ready = {"httpGet": {"path": "/health/ready", "port": "http"}, "timeoutSeconds": 10}
    return {
        "startupProbe": {**live, "periodSeconds": 2, "failureThreshold": 60},
        "livenessProbe": {**live, "periodSeconds": 10, "failureThreshold": 6},
        "readinessProbe": {**ready, "periodSeconds": 5, "failureThreshold": 3},
    }
