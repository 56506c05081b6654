"""The base: what every installation has, and no overlay changes."""

from collections.abc import Iterator

from gatehouse.kubernetes import objects, pods
from gatehouse.kubernetes.objects import Manifest, labels, manifest
from gatehouse.kubernetes.suite import ROUTES_FOLDER, Program, Suite

DATA_SIZE = "20Gi"
ROUTES = "routes"


def drawn(suite: Suite) -> dict[str, list[Manifest]]:
    """Return the manifests of the base by file name."""
    files = {
        "namespace.yaml": [objects.namespace()],
        "addresses.yaml": [objects.config("addresses", {"ENVIRONMENT": "production", **suite.addresses})],
        "network.yaml": list(_network()),
        "routes.yaml": [objects.config(ROUTES, {"routes.yaml": (suite.root / "routes.yaml").read_text()})],
    }
    return files | {f"{program.name}.yaml": list(_program(suite, program)) for program in suite.programs}


def _program(suite: Suite, program: Program) -> Iterator[Manifest]:
    is_service = program is not suite.gateway
    mounts = {} if is_service else {ROUTES_FOLDER: {"configMap": {"name": ROUTES}}}
    template = pods.of_program(program, suite.choices, mounts=mounts, init=is_service)
    yield objects.account(program.name)
    yield _set(program, template) if program.keeps_data else _deployment(program, template)
    yield objects.service(program.name, program.port)
    yield objects.disruption_budget(program.name)
    yield _traffic(suite, program)


def _deployment(program: Program, template: Manifest) -> Manifest:
    # Without `replicas`, so that applying it again does not undo what the autoscaler chose.
    spec = {
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": labels(program.name)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": template,
    }
    return manifest("Deployment", "apps/v1", program.name, spec=spec)


def _set(program: Program, template: Manifest) -> Manifest:
    """Return a StatefulSet of one pod, which has its volume to itself."""
    claims = [{"metadata": {"name": "data"}, "spec": objects.claim_spec(DATA_SIZE)}]
    spec = {
        "replicas": 1,
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": labels(program.name)},
        "serviceName": program.name,
        "template": template,
        "volumeClaimTemplates": claims,
    }
    return manifest("StatefulSet", "apps/v1", program.name, spec=spec)


def _traffic(suite: Suite, program: Program) -> Manifest:
    callers = objects.pods(*suite.callers(program.name))
    is_public = program is suite.gateway
    inwards = {"ports": objects.ports(program.port)} | ({} if is_public else {"from": callers})
    called = {one.name: one.port for one in suite.services}
    outwards = [{"to": objects.pods(name), "ports": objects.ports(called[name])} for name in program.calls]
    if program.outside:
        anywhere = {"cidr": "0.0.0.0/0", "except": list(objects.NOT_OUTSIDE)}
        outwards.append({"to": [{"ipBlock": anywhere}], "ports": objects.ports(*program.outside)})
    return objects.policy(program.name, labels(program.name), ingress=[inwards], egress=outwards)


def _network() -> Iterator[Manifest]:
    """Refuse all traffic that no policy allows, except DNS queries."""
    nothing = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    yield manifest("NetworkPolicy", "networking.k8s.io/v1", "nothing-else", spec=nothing)
    names = [*objects.ports(53, protocol="UDP"), *objects.ports(53)]
    # The second peer is the DNS cache that each node may run.
    to = [{"namespaceSelector": {}}, {"ipBlock": {"cidr": "169.254.20.10/32"}}]
    yield objects.policy("names", {objects.PART_OF: objects.NAMESPACE}, egress=[{"to": to, "ports": names}])
