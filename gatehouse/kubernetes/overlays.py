"""The overlays: each adds to the base what one way of running the suite needs, and changes nothing in it."""

from collections.abc import Iterator

from gatehouse.kubernetes import backups, objects, servers
from gatehouse.kubernetes.objects import DATABASE, PRIVATE, REDIS, Manifest
from gatehouse.kubernetes.suite import GATEWAY_PORT, Suite

CERTIFICATE = "gatehouse-tls"  # a Secret of the type kubernetes.io/tls
GATEWAYS, SERVICES = (3, 10), (2, 6)  # the least and the most pods


def one_node(suite: Suite) -> dict[str, list[Manifest]]:
    """PostgreSQL and Redis in the cluster, everything once, HTTP: for trying, and for a single machine."""
    volumes = tuple(one.name for one in suite.services if one.keeps_data)
    return {
        "postgres.yaml": list(servers.postgres(suite)),
        "redis.yaml": list(servers.redis(suite)),
        "settings.yaml": [_settings(suite, {})],
        "ingress.yaml": [objects.ingress("", GATEWAY_PORT)],
        "backup.yaml": backups.drawn(suite, volumes),
    }


def production(suite: Suite) -> dict[str, list[Manifest]]:
    """PostgreSQL, Redis and S3 outside the cluster, several pods of everything stateless, HTTPS."""
    url = f"https://{suite.choices.host}"
    chosen = {
        "PUBLIC_URL": url,
        "OAUTH_ISSUER": url,
        "STORAGE_TYPE": "s3",
        "S3_BUCKET": "gatehouse-files",
    }
    return {
        "settings.yaml": [_settings(suite, chosen)],
        "ingress.yaml": [objects.ingress(suite.choices.host, GATEWAY_PORT, secret=CERTIFICATE)],
        "autoscaling.yaml": list(_autoscalers(suite)),
        "servers.yaml": list(_servers()),
        # The content of files is in S3, and homes are on the volume of terminal.
        "backup.yaml": backups.drawn(suite, ("terminal",)),
    }


def _settings(suite: Suite, chosen: dict[str, str]) -> Manifest:
    networks = {"TRUSTED_PROXIES": suite.choices.pod_network}
    return objects.config("settings", {**suite.settings, **networks, **chosen})


def _autoscalers(suite: Suite) -> Iterator[Manifest]:
    for program in suite.programs:
        if not program.keeps_data:
            least, most = GATEWAYS if program is suite.gateway else SERVICES
            yield objects.autoscaler(program.name, least, most)


def _servers() -> Iterator[Manifest]:
    """Let pods reach PostgreSQL and Redis in private networks."""
    private = [{"ipBlock": {"cidr": network}} for network in PRIVATE]
    for name, label, port in (
        ("to-postgres", DATABASE, servers.POSTGRES_PORT),
        ("to-redis", REDIS, servers.REDIS_PORT),
    ):
        rule = {"to": private, "ports": objects.ports(port)}
        yield objects.policy(name, {label: "yes"}, egress=[rule])
