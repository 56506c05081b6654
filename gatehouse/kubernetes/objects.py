"""The small objects of a cluster, as dictionaries."""

from collections.abc import Iterable, Mapping
from typing import Any

NAMESPACE = "gatehouse"
NAME = "app.kubernetes.io/name"
PART_OF = "app.kubernetes.io/part-of"
DATABASE = "gatehouse/database"  # pods with this label reach PostgreSQL
REDIS = "gatehouse/redis"
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
# Also the addresses of carriers, of the machine itself, and of the cloud's metadata.
NOT_OUTSIDE = (*PRIVATE, "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16")

Manifest = dict[str, Any]


def labels(name: str) -> dict[str, str]:
    return {NAME: name, PART_OF: NAMESPACE}


def manifest(kind: str, version: str, name: str, **more: Any) -> Manifest:
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels(name)}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **more}


def namespace() -> Manifest:
    secure = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {PART_OF: NAMESPACE, **secure}},
    }


def account(name: str) -> Manifest:
    """Return a ServiceAccount without a token: no program calls the API of the cluster."""
    return manifest("ServiceAccount", "v1", name, automountServiceAccountToken=False)


def config(name: str, data: Mapping[str, str]) -> Manifest:
    return manifest("ConfigMap", "v1", name, data=dict(data))


def service(name: str, port: int, *, selects: str = "", is_headless: bool = False) -> Manifest:
    spec: Manifest = {"clusterIP": "None"} if is_headless else {}
    spec |= {
        "selector": labels(selects or name),
        "ports": [{"name": "http", "port": port, "targetPort": "http"}],
    }
    return manifest("Service", "v1", name, spec=spec)


def disruption_budget(name: str) -> Manifest:
    """Let nodes be drained one pod at a time, even a node with the only pod."""
    spec = {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": labels(name)},
    }
    return manifest("PodDisruptionBudget", "policy/v1", name, spec=spec)


def autoscaler(name: str, least: int, most: int) -> Manifest:
    target = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicas": least,
        "maxReplicas": most,
        "metrics": [{"type": "Resource", "resource": target}],
        # Load comes back as quickly as it went.
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
    }
    return manifest("HorizontalPodAutoscaler", "autoscaling/v2", name, spec=spec)


def claim(name: str, size: str) -> Manifest:
    return manifest("PersistentVolumeClaim", "v1", name, spec=claim_spec(size))


def claim_spec(size: str) -> Manifest:
    return {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}


def policy(
    name: str,
    pods: Mapping[str, str],
    *,
    ingress: Iterable[Manifest] = (),
    egress: Iterable[Manifest] = (),
) -> Manifest:
    """Allow traffic of these pods; base/network.yaml refuses everything else."""
    rules = {"ingress": list(ingress), "egress": list(egress)}
    rules = {direction: found for direction, found in rules.items() if found}
    types = [direction.capitalize() for direction in rules]
    spec = {"podSelector": {"matchLabels": dict(pods)}, "policyTypes": types, **rules}
    return manifest("NetworkPolicy", "networking.k8s.io/v1", name, spec=spec)


def pods(*names: str) -> list[Manifest]:
    return [{"podSelector": {"matchLabels": labels(name)}} for name in names]


def ports(*numbers: int, protocol: str = "TCP") -> list[Manifest]:
    return [{"port": number, "protocol": protocol} for number in numbers]


def ingress(host: str, port: int, *, secret: str = "") -> Manifest:
    backend = {"service": {"name": "gateway", "port": {"number": port}}}
    rule: Manifest = {"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    spec: Manifest = {"rules": [{"host": host, **rule} if host else rule]}
    if secret:
        spec = {"tls": [{"hosts": [host], "secretName": secret}], **spec}
    drawn = manifest("Ingress", "networking.k8s.io/v1", "gateway", spec=spec)
    # ingress-nginx would refuse bodies above 1 MiB and end sockets after a minute. The gateway limits both.
    drawn["metadata"]["annotations"] = {
        f"nginx.ingress.kubernetes.io/{name}": value
        for name, value in {
            "proxy-body-size": "0",
            "proxy-request-buffering": "off",
            "proxy-buffering": "off",
            "proxy-read-timeout": "3600",
            "proxy-send-timeout": "3600",
        }.items()
    }
    return drawn
