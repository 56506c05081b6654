"""Prometheus and Alertmanager in the cluster, with the rules and alerts of deploy/prometheus."""

from collections.abc import Iterator
from typing import Any

import yaml

from gatehouse.kubernetes import objects, pods
from gatehouse.kubernetes.objects import NAMESPACE, PART_OF, Manifest, labels, manifest
from gatehouse.kubernetes.suite import GATEWAY, Suite

NOBODY = 65534  # the user of both images
TOKEN = "/etc/metrics-token"  # noqa: S105 - a folder
CONFIG = "/etc/prometheus"
IMAGES = {"prometheus": "prom/prometheus:v2.53.3", "alertmanager": "prom/alertmanager:v0.27.0"}
PORTS = {"prometheus": 9090, "alertmanager": 9093}
OTLP_PORT = 4318
FOLLOWED = ("rules.yml", "alerts.yml")


def drawn(suite: Suite) -> dict[str, list[Manifest]]:
    return {
        "prometheus.yaml": list(_prometheus(suite)),
        "alertmanager.yaml": list(_alertmanager(suite)),
        # One name with the addresses of all pods: a usual Service would give each scrape another pod.
        "pods.yaml": [
            objects.service(_each(one.name), one.port, selects=one.name, is_headless=True)
            for one in suite.programs
        ],
    }


def _prometheus(suite: Suite) -> Iterator[Manifest]:
    name = "prometheus"
    files = {one: (suite.root / "deploy/prometheus" / one).read_text() for one in FOLLOWED}
    yield objects.config(
        name, {"prometheus.yml": yaml.safe_dump(configuration(suite), sort_keys=False), **files}
    )
    volumes: dict[str, Manifest] = {
        CONFIG: {"configMap": {"name": name}},
        TOKEN: {
            "secret": {"secretName": GATEWAY, "items": [{"key": "METRICS_TOKEN", "path": "token"}]},
        },
    }
    options = [f"--config.file={CONFIG}/prometheus.yml", "--storage.tsdb.path=/data"]
    yield from _observer(name, [*options, "--storage.tsdb.retention.time=15d"], volumes)
    everything = [{"to": [_pod_of_suite()], "ports": objects.ports(*_ports(suite), PORTS["alertmanager"])}]
    yield objects.policy(name, labels(name), egress=everything)
    scraped = [{"from": objects.pods(name), "ports": objects.ports(*_ports(suite))}]
    # A collector may be anywhere in the cluster.
    collectors = [{"to": [{"namespaceSelector": {}}], "ports": objects.ports(OTLP_PORT)}]
    yield objects.policy("traces", {PART_OF: NAMESPACE}, egress=collectors)
    yield objects.policy("metrics", {PART_OF: NAMESPACE}, ingress=scraped)


def _alertmanager(suite: Suite) -> Iterator[Manifest]:
    name = "alertmanager"
    file = "alertmanager.yml"
    yield objects.config(name, {file: (suite.root / "deploy/prometheus" / file).read_text()})
    volumes: dict[str, Manifest] = {"/etc/alertmanager": {"configMap": {"name": name}}}
    options = [f"--config.file=/etc/alertmanager/{file}", "--storage.path=/data"]
    yield from _observer(name, options, volumes)
    alerts = [{"from": objects.pods("prometheus"), "ports": objects.ports(PORTS[name])}]
    outside = [{"ipBlock": {"cidr": "0.0.0.0/0", "except": list(objects.NOT_OUTSIDE)}}]
    receivers = [{"to": outside, "ports": objects.ports(443, 465, 587)}]
    yield objects.policy(name, labels(name), ingress=alerts, egress=receivers)


def configuration(suite: Suite) -> dict[str, Any]:
    """Return the configuration of Prometheus: every pod of every program is a target."""
    services = [{"names": [_each(one.name)], "type": "A", "port": one.port} for one in suite.services]
    gateways = {"names": [_each(GATEWAY)], "type": "A", "port": suite.gateway.port}
    return {
        "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
        "rule_files": list(FOLLOWED),
        "alerting": {
            "alertmanagers": [{"static_configs": [{"targets": [f"alertmanager:{PORTS['alertmanager']}"]}]}]
        },
        "scrape_configs": [
            {
                "job_name": "gateway",
                "authorization": {"credentials_file": f"{TOKEN}/token"},
                "dns_sd_configs": [gateways],
            },
            {
                "job_name": "service",
                "dns_sd_configs": services,
                # The dashboards ask for the service by its name.
                "relabel_configs": [
                    {
                        "source_labels": ["__meta_dns_name"],
                        "regex": r"(.+)-pods\.?",
                        "target_label": "service",
                    }
                ],
            },
        ],
    }


def _observer(name: str, options: list[str], volumes: dict[str, Manifest]) -> Iterator[Manifest]:
    port = PORTS[name]
    mounts = [{"name": pods.volume_name(path), "mountPath": path} for path in volumes]
    check = {"httpGet": {"path": "/-/ready", "port": "http"}, "timeoutSeconds": 10}
    live = {"httpGet": {"path": "/-/healthy", "port": "http"}, "timeoutSeconds": 10}
    container = {
        "name": name,
        "image": IMAGES[name],
        "args": options,
        "ports": [{"name": "http", "containerPort": port}],
        "startupProbe": {**live, "periodSeconds": 2, "failureThreshold": 60},
        "readinessProbe": {**check, "periodSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {**live, "periodSeconds": 10, "failureThreshold": 6},
        "resources": pods.limits("100m", "256Mi", "1Gi"),
        "securityContext": pods.CONFINED,
        "volumeMounts": [*mounts, {"name": "data", "mountPath": "/data"}],
    }
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": labels(name)},
        "serviceName": name,
        "template": pods.pod(name, [container], volumes, user=NOBODY),
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": objects.claim_spec("20Gi")}],
    }
    yield objects.account(name)
    yield manifest("StatefulSet", "apps/v1", name, spec=spec)
    yield objects.service(name, port)


def _pod_of_suite() -> Manifest:
    return {"podSelector": {"matchLabels": {PART_OF: NAMESPACE}}}


def _ports(suite: Suite) -> list[int]:
    return [one.port for one in suite.programs]


def _each(name: str) -> str:
    return f"{name}-pods"
