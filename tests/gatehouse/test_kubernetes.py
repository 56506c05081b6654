"""The manifests in deploy/kubernetes fit each other, the settings, and the API of Kubernetes."""

import importlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, get_args

import kubernetes_validate
import pytest
import yaml
from pydantic import SecretStr

from contracts.events import SUBSCRIBERS
from gatehouse import cli, programs
from gatehouse.kubernetes import drawing, objects, observing, secret_values
from gatehouse.kubernetes.suite import Choices, read
from shared import __version__
from shared.process.settings import ProcessSettings, ServiceSettings
from tests import support
from tests.gatehouse.cluster import MANIFESTS, Cluster, template
from tests.shared.processes import ROOT

SUITE = read(ROOT, Choices())
SERVICES = {one.name for one in SUITE.services}
PROGRAMS = {one.name: one for one in SUITE.programs}
WAYS = {"one-node": ("one-node",), "production": ("production",), "observe": ("one-node", "observe")}
CLUSTERS = {way: Cluster.of(*folders) for way, folders in WAYS.items()}
# The oldest version that we support, and the newest whose schemas the validator has.
VERSIONS = ("1.30", "1.37")
IMAGE_SETTINGS = {"HOST": "0.0.0.0", "DATA_DIR": "/data", "LOG_FORMAT": "json"}

every_way = pytest.mark.parametrize("way", WAYS)


def env_file() -> dict[str, str]:
    """The values of a .env as `gatehouse env` writes it."""
    lines = (ROOT / "deploy/env.template").read_text().splitlines()
    given = {name: value for name, _, value in (line.partition("=") for line in lines) if name[:1] != "#"}
    return {
        name: f"7Q2x{number:02}vT8wKzR4mYd9Lh3cNf6BgJp5sXa" if value == "<secret>" else value
        for number, (name, value) in enumerate(given.items())
    }


def secrets() -> dict[str, dict[str, str]]:
    found = secret_values.drawn(SUITE, env_file(), postgres="postgres:5432", redis="redis:6379")
    return {one["metadata"]["name"]: one["stringData"] for one in found}


def settings_of(program: str) -> type[ProcessSettings]:
    where = "gateway" if program == "gateway" else f"services.{program}"
    found: type[ProcessSettings] = importlib.import_module(f"{where}.settings").Settings
    return found


def test_files_are_those_that_the_command_draws() -> None:
    drawn = {MANIFESTS / file: text for file, text in drawing.drawn(ROOT).items()}
    differing = [file for file, text in drawn.items() if not file.exists() or file.read_text() != text]
    message = "run `gatehouse kubernetes`"

    assert [str(file.relative_to(ROOT)) for file in differing] == [], message
    assert [*drawing.stale(MANIFESTS)] == sorted(drawn), message
    assert set(MANIFESTS.glob("*/*")) == drawn.keys()


@pytest.mark.parametrize("version", VERSIONS)
@every_way
def test_every_object_is_valid_for_this_version_of_kubernetes(way: str, version: str) -> None:
    for one in CLUSTERS[way].found:
        kubernetes_validate.validate(one, version, strict=True)


@every_way
def test_kustomize_builds_the_same_objects(way: str) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("not installed: kubectl")
    built = []
    for folder in WAYS[way]:
        command = [kubectl, "kustomize", str(MANIFESTS / folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        built += [*yaml.safe_load_all(done.stdout)]

    def key(one: dict[str, Any]) -> tuple[str, str]:
        return one["kind"], one["metadata"]["name"]

    assert sorted(built, key=key) == sorted(CLUSTERS[way].found, key=key)


@every_way
def test_every_program_has_all_its_objects(way: str) -> None:
    cluster = CLUSTERS[way]
    names = [(one["kind"], one["metadata"]["name"]) for one in cluster.found]

    assert len(set(names)) == len(names)
    assert {folder.parent.name for folder in (ROOT / "services").glob("*/__main__.py")} == SERVICES
    for name, program in PROGRAMS.items():
        kinds = {kind for kind, other in names if other == name} - {"HorizontalPodAutoscaler", "Ingress"}
        workload = "StatefulSet" if program.keeps_data else "Deployment"
        assert kinds == {workload, "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy"}
        (port,) = cluster.one("Service", name)["spec"]["ports"]
        container = template(cluster.one(workload, name))["spec"]["containers"][0]
        assert port["port"] == container["ports"][0]["containerPort"]
        assert port["port"] == settings_of(name).model_fields["port"].default
        assert container["ports"][0]["name"] == port["targetPort"] == "http"


@every_way
def test_selectors_match_exactly_the_pods_of_their_name(way: str) -> None:
    cluster = CLUSTERS[way]
    for kind in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
        for one in cluster.all(kind):
            assert cluster.selected(one["spec"]["selector"]["matchLabels"]) == {one["metadata"]["name"]}
    for one in cluster.all("Service"):
        name = one["metadata"]["name"].removesuffix("-pods")
        assert cluster.selected(one["spec"]["selector"]) == {name}
    for one in cluster.all("NetworkPolicy"):
        assert cluster.selected(one["spec"]["podSelector"].get("matchLabels", {}))
    for one in cluster.all("HorizontalPodAutoscaler"):
        target = cluster.one("Deployment", one["spec"]["scaleTargetRef"]["name"])
        assert "replicas" not in target["spec"]
        (container,) = template(target)["spec"]["containers"]
        assert "cpu" in container["resources"]["requests"]


def test_production_scales_everything_that_keeps_no_data() -> None:
    stateless = {name for name, program in PROGRAMS.items() if not program.keeps_data}
    scalers = CLUSTERS["production"].all("HorizontalPodAutoscaler")

    assert {one["metadata"]["name"] for one in scalers} == stateless
    assert min(one["spec"]["minReplicas"] for one in scalers) >= 2
    assert CLUSTERS["one-node"].all("HorizontalPodAutoscaler") == []


@every_way
def test_pods_are_confined_as_the_standard_restricted_requires(way: str) -> None:
    cluster = CLUSTERS[way]
    (namespace,) = cluster.all("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in cluster.pods().values():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False, "ORDERS_PORT would be a setting"
        assert spec.keys().isdisjoint({"hostNetwork", "hostPID", "hostIPC"})
        assert spec["serviceAccountName"] in cluster.names("ServiceAccount")
        kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"emptyDir", "configMap", "secret", "persistentVolumeClaim"}
    for _, container in cluster.containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert re.search(r":[\w.-]+$", container["image"]), "an image without a tag is the latest one"


@every_way
def test_volumes_images_and_references_exist(way: str) -> None:
    cluster = CLUSTERS[way]
    claims = cluster.names("PersistentVolumeClaim") | {
        f"{claim['metadata']['name']}-{one['metadata']['name']}-0"
        for one in cluster.all("StatefulSet")
        for claim in one["spec"]["volumeClaimTemplates"]
    }
    targets = re.findall(r"^FROM .* AS (\w+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    built = {f"gatehouse/{name}:{__version__}" for name in (*SERVICES, *targets)}
    given = secrets()
    for name, pod in cluster.pods().items():
        for volume in pod["spec"]["volumes"]:
            if claim := volume.get("persistentVolumeClaim"):
                assert claim["claimName"] in claims
            if found := volume.get("configMap"):
                assert found["name"] in cluster.names("ConfigMap")
            if found := volume.get("secret"):
                assert {one["key"] for one in found["items"]} <= given[found["secretName"]].keys()
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        if name in cluster.names("StatefulSet"):
            volumes.add("data")
        for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
            if container["image"].startswith("gatehouse/"):
                assert container["image"] in built


@every_way
def test_probes_ask_the_endpoints_of_health(way: str) -> None:
    for name in PROGRAMS:
        container = CLUSTERS[way].pods()[name]["spec"]["containers"][0]
        paths = {
            kind: container[f"{kind}Probe"]["httpGet"]["path"]
            for kind in ("startup", "liveness", "readiness")
        }
        assert paths == {"startup": "/health/live", "liveness": "/health/live", "readiness": "/health/ready"}
    for pod in CLUSTERS[way].pods().values():
        for container in pod["spec"]["containers"] if pod["spec"].get("restartPolicy") != "Never" else ():
            assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()


def test_a_pod_ends_after_its_program_has_drained() -> None:
    drain = ProcessSettings.model_fields["drain_seconds"].default
    for name in PROGRAMS:
        spec = CLUSTERS["production"].pods()[name]["spec"]
        command, seconds = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert command == "sleep"
        assert int(seconds) + drain < spec["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("way", ["one-node", "production"])
def test_every_program_accepts_the_settings_that_its_pod_gets(way: str) -> None:
    cluster, given = CLUSTERS[way], secrets()
    addresses = {f"{name.upper()}_URL" for name in SUBSCRIBERS}
    # Some of these are read by the routes file, or by a library.
    listed = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["x-settings"].keys()
    for name in PROGRAMS:
        kind = settings_of(name)
        known = {field.upper() for field in kind.model_fields} | addresses | listed
        for container in (one for owner, one in cluster.containers() if owner == name):
            environment = cluster.environment(container, given)
            assert environment.keys() <= known
            assert listed <= environment.keys() | {one["name"] for one in container["env"]}
            with programs.environment_of_process({**IMAGE_SETTINGS, **environment}):
                settings = kind.load()
            assert settings.environment == "production"
            for entry in (one for one in container["env"] if one["name"].lower() in kind.model_fields):
                is_secret = SecretStr in (
                    (hint := kind.model_fields[entry["name"].lower()].annotation),
                    *get_args(hint),
                )
                assert not is_secret or "secretKeyRef" in entry["valueFrom"], entry


@pytest.mark.parametrize("way", ["one-node", "production"])
def test_backup_has_the_settings_of_all_programs(way: str) -> None:
    cluster = CLUSTERS[way]
    (container,) = cluster.pods()["backup"]["spec"]["containers"]
    environment = {**IMAGE_SETTINGS, **cluster.environment(container, secrets())}
    del environment["HOST"]  # which has no effect where one process has the settings of all
    routes = {**environment, "ROUTES_FILE": "routes.yaml"}
    loaded = programs.load(ROOT, routes)
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}

    assert {one.name for one in loaded} == PROGRAMS.keys()
    assert programs.without_effect(loaded, routes) == []
    for one in loaded:
        if isinstance(one.settings, ServiceSettings):
            assert one.settings.database_url == secrets()[one.name]["DATABASE_URL"]
            for folder in one.settings.stored_folders():
                assert folder.path.is_relative_to(f"/volumes/{one.name}")
                assert f"/volumes/{one.name}" in mounted
    assert environment["BACKUP_PASSPHRASE"] == env_file()["BACKUP_PASSPHRASE"]


@every_way
def test_only_the_gateway_and_named_callers_reach_a_service(way: str) -> None:
    cluster = CLUSTERS[way]
    called = {
        (name, other)
        for name in SERVICES
        for other in SERVICES - {name}
        if f"{other}_url" in settings_of(name).model_fields
    }
    expected = called | {("gateway", name) for name in SERVICES}
    if way == "observe":
        expected |= {("prometheus", name) for name in PROGRAMS}
    found = {
        (caller, name)
        for caller in cluster.pods()
        for name in PROGRAMS
        if caller != name and cluster.reaches(caller, name, PROGRAMS[name].port)
    }

    # The gateway is public, so Prometheus reaches it as well: its own policy lets it out.
    assert found == expected


def test_only_those_with_a_database_reach_postgresql() -> None:
    cluster = CLUSTERS["one-node"]
    reaching = {
        name for name in cluster.pods() if name != "postgres" and cluster.reaches(name, "postgres", 5432)
    }
    counting = {name for name in cluster.pods() if name != "redis" and cluster.reaches(name, "redis", 6379)}

    assert reaching == SERVICES | {"backup"}
    assert counting == PROGRAMS.keys()


def test_no_program_reaches_private_addresses_outside_but_those_of_the_servers() -> None:
    for one in CLUSTERS["production"].all("NetworkPolicy"):
        for rule in one["spec"].get("egress", ()):
            for peer in rule["to"]:
                block = peer.get("ipBlock", {}).get("cidr")
                numbers = {port["port"] for port in rule["ports"]}
                if block == "0.0.0.0/0":
                    assert set(peer["ipBlock"]["except"]) == set(objects.NOT_OUTSIDE)
                    assert numbers <= {25, 443, 465, 587, 636}
                elif block:
                    assert numbers in ({5432}, {6379}, {53})


def test_routes_and_alerts_are_those_of_the_repository() -> None:
    cluster = CLUSTERS["observe"]
    for name, file in (("routes", "routes.yaml"), ("prometheus", "deploy/prometheus/alerts.yml")):
        text = (ROOT / file).read_text()
        assert cluster.one("ConfigMap", name)["data"][Path(file).name] == text


def test_prometheus_accepts_the_configuration(tmp_path: Path) -> None:
    (promtool,) = support.need("promtool")
    data = CLUSTERS["observe"].one("ConfigMap", "prometheus")["data"]
    for name, text in data.items():
        (tmp_path / name).write_text(text)
    command = [promtool, "check", "config", "--syntax-only", "prometheus.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    jobs = observing.configuration(SUITE)["scrape_configs"]
    names = {name for job in jobs for one in job["dns_sd_configs"] for name in one["names"]}

    assert done.returncode == 0, done.stdout + done.stderr
    assert names == {f"{name}-pods" for name in PROGRAMS}
    assert names < CLUSTERS["observe"].names("Service")


class TestSecrets:
    def test_each_program_gets_only_its_own_values(self) -> None:
        found = secrets()
        env = env_file()

        assert found["orders"] == {
            "DATABASE_URL": f"postgresql://orders:{env['ORDERS_DATABASE_PASSWORD']}@postgres:5432/orders"
        }
        assert found["suite"]["REDIS_URL"] == f"redis://services:{env['REDIS_PASSWORD']}@redis:6379/0"
        assert (
            found["gateway"]["REDIS_URL"] == f"redis://gateway:{env['REDIS_GATEWAY_PASSWORD']}@redis:6379/0"
        )
        assert found["audit"]["KEY_SECRET"] == env["AUDIT_KEY_SECRET"]
        assert found["postgres"].keys() > {"POSTGRES_PASSWORD", "ORDERS_DATABASE_PASSWORD"}

    def test_passwords_are_quoted_in_urls(self) -> None:
        env = env_file() | {"ORDERS_DATABASE_PASSWORD": "a/b@c:d"}
        found = secret_values.drawn(SUITE, env, postgres="db:5432", redis="cache:6379")
        (orders,) = [one for one in found if one["metadata"]["name"] == "orders"]

        assert orders["stringData"]["DATABASE_URL"] == "postgresql://orders:a%2Fb%40c%3Ad@db:5432/orders"

    def test_missing_values_are_all_named(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        env = env_file()
        del env["ORDERS_DATABASE_PASSWORD"], env["BACKUP_PASSPHRASE"]
        (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in env.items()))

        assert cli.main(["kubernetes", "secrets", "--env", str(tmp_path / ".env")]) == 1
        assert capsys.readouterr().err.startswith("BACKUP_PASSPHRASE, ORDERS_DATABASE_PASSWORD: not set")

    def test_command_prints_what_a_cluster_accepts(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / ".env").write_text(
            "# a comment\n" + "".join(f"{name}='{value}'\n" for name, value in env_file().items())
        )

        assert cli.main(["kubernetes", "secrets", "--env", str(tmp_path / ".env")]) == 0
        printed = [*yaml.safe_load_all(capsys.readouterr().out)]
        assert {one["metadata"]["name"]: one["stringData"] for one in printed} == secrets()
        for one in printed:
            kubernetes_validate.validate(one, VERSIONS[0], strict=True)


class TestCommand:
    def test_own_choices_are_drawn_into_a_folder_whose_other_files_stay(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "base").mkdir()
        (tmp_path / "base" / "mine.yaml").write_text("kind: Mine\n")
        (tmp_path / "base" / "billing.yaml").write_text(drawing.HEAD)
        command = ["kubernetes", "--to", str(tmp_path), "--registry", "registry.example.com/team/"]
        command += ["--host", "api.acme.example", "--pod-network", "10.42.0.0/16"]

        assert cli.main(command) == 0
        said = capsys.readouterr().out
        assert f"removed {tmp_path}/base/billing.yaml\n" in said
        assert (tmp_path / "base" / "mine.yaml").exists()
        orders = (tmp_path / "base" / "orders.yaml").read_text()
        assert f"image: registry.example.com/team/gatehouse/orders:{__version__}\n" in orders
        settings = yaml.safe_load((tmp_path / "production" / "settings.yaml").read_text())["data"]
        assert settings["PUBLIC_URL"] == "https://api.acme.example"
        assert settings["TRUSTED_PROXIES"] == "10.42.0.0/16"
        assert cli.main(command) == 0
        assert capsys.readouterr().out == ""

    def test_impossible_network_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            cli.main(["kubernetes", "--pod-network", "10.42.0.1/16"])

        assert ended.value.code == 2
        assert "--pod-network" in capsys.readouterr().err
