"""Reads the manifests of deploy/kubernetes as a cluster would: references, labels and network policies."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gatehouse.kubernetes.drawing import FOLDER
from tests.shared.processes import ROOT

MANIFESTS = ROOT / FOLDER
WORKLOADS = {"Deployment", "StatefulSet", "CronJob"}

Manifest = dict[str, Any]


def resources(folder: Path) -> Iterator[Manifest]:
    """Yield what a kustomization names; none of ours has patches or generators."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert kustomization.keys() == {"apiVersion", "kind", "namespace", "resources"}
    for name in kustomization["resources"]:
        place = (folder / name).resolve()
        if place.is_dir():
            yield from resources(place)
        else:
            yield from yaml.safe_load_all(place.read_text())


@dataclass(frozen=True)
class Cluster:
    """All objects of one overlay."""

    found: tuple[Manifest, ...]

    @classmethod
    def of(cls, *ways: str) -> "Cluster":
        return cls(tuple(one for way in ways for one in resources(MANIFESTS / way)))

    def all(self, *kinds: str) -> list[Manifest]:
        return [one for one in self.found if one["kind"] in kinds]

    def one(self, kind: str, name: str) -> Manifest:
        (found,) = [one for one in self.all(kind) if one["metadata"]["name"] == name]
        return found

    def names(self, kind: str) -> set[str]:
        return {one["metadata"]["name"] for one in self.all(kind)}

    def pods(self) -> dict[str, Manifest]:
        """The pod template of each workload, by its name."""
        return {one["metadata"]["name"]: template(one) for one in self.all(*WORKLOADS)}

    def containers(self) -> Iterator[tuple[str, Manifest]]:
        for name, pod in self.pods().items():
            for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
                yield name, container

    def selected(self, selector: Mapping[str, str]) -> set[str]:
        """The workloads whose pods have these labels."""
        return {
            name for name, pod in self.pods().items() if selector.items() <= pod["metadata"]["labels"].items()
        }

    def environment(self, container: Manifest, secrets: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        """The environment of a container, all references followed. A missing one is a KeyError."""
        found: dict[str, str] = {}
        maps = {one["metadata"]["name"]: one["data"] for one in self.all("ConfigMap")}
        for source in container.get("envFrom", ()):
            ((kind, reference),) = source.items()
            values = (secrets if kind == "secretRef" else maps).get(reference["name"])
            assert values is not None or reference.get("optional"), reference
            found |= values or {}
        for entry in container["env"]:
            if "value" in entry:
                found[entry["name"]] = entry["value"]
                continue
            ((kind, reference),) = entry["valueFrom"].items()
            values = (secrets if kind == "secretKeyRef" else maps)[reference["name"]]
            if not reference.get("optional") or reference["key"] in values:
                found[entry["name"]] = values[reference["key"]]
        return found

    def reaches(self, caller: str, called: str, port: int) -> bool:
        """Whether the policies of both sides let a pod connect to another one."""
        pods = self.pods()
        here, there = pods[caller]["metadata"]["labels"], pods[called]["metadata"]["labels"]
        out = any(allows(rule, "to", there, port) for rule in self._rules(here, "Egress", "egress"))
        return out and any(
            allows(rule, "from", here, port) for rule in self._rules(there, "Ingress", "ingress")
        )

    def _rules(self, pod: Mapping[str, str], kind: str, key: str) -> Iterator[Manifest]:
        policies = [
            one["spec"]
            for one in self.all("NetworkPolicy")
            if one["spec"]["podSelector"].get("matchLabels", {}).items() <= pod.items()
        ]
        assert any(kind in policy["policyTypes"] for policy in policies), "nothing restricts this pod"
        for policy in policies:
            yield from policy.get(key, ()) if kind in policy["policyTypes"] else ()


def template(workload: Manifest) -> Manifest:
    spec = workload["spec"]
    found: Manifest = (spec["jobTemplate"]["spec"] if "jobTemplate" in spec else spec)["template"]
    return found


def allows(rule: Manifest, side: str, other: Mapping[str, str], port: int) -> bool:
    if port not in [one["port"] for one in rule["ports"] if one["protocol"] == "TCP"]:
        return False
    return side not in rule or any(
        "podSelector" in peer and peer["podSelector"]["matchLabels"].items() <= other.items()
        for peer in rule[side]
    )
