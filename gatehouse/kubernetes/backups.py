"""The CronJob that takes a backup every night, in a pod with the code of all services."""

from collections.abc import Iterator

from gatehouse.kubernetes import objects, pods
from gatehouse.kubernetes.objects import DATABASE, Manifest, labels, manifest
from gatehouse.kubernetes.suite import COMMON, ROUTES_FOLDER, Suite, Variable

NAME = "backup"
IMAGE = "gatehouse/suite"
FOLDER = "/backups"
SCHEDULE, KEEP = "0 3 * * *", "7d,4w,6m"
SIZE = "50Gi"
PASSPHRASE = "BACKUP_PASSPHRASE"  # noqa: S105 - the name of a variable
_OF_ONE_PROCESS = ("PORT", "ROUTES_FILE", "TRUSTED_PROXIES")


def drawn(suite: Suite, folders_of: tuple[str, ...]) -> list[Manifest]:
    """Return the job and its volume. Beside the databases, it copies the volumes of `folders_of`."""
    template = _pod(suite, folders_of)
    job = {"activeDeadlineSeconds": 6 * 3600, "backoffLimit": 1, "template": template}
    spec = {
        "schedule": SCHEDULE,
        "timeZone": "Etc/UTC",
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 3600,
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 3,
        "jobTemplate": {"spec": job},
    }
    return [
        objects.account(NAME),
        manifest("CronJob", "batch/v1", NAME, spec=spec),
        objects.claim(f"{NAME}s", SIZE),
    ]


def _pod(suite: Suite, folders_of: tuple[str, ...]) -> Manifest:
    volumes: dict[str, Manifest] = {
        "/tmp": pods.temporary("20Gi"),  # noqa: S108 - a folder in the container
        "/data": pods.temporary("20Gi"),
        FOLDER: {"persistentVolumeClaim": {"claimName": f"{NAME}s"}},
        ROUTES_FOLDER: {"configMap": {"name": "routes"}},
    }
    for name in folders_of:
        volumes[_folder(name)] = {"persistentVolumeClaim": {"claimName": f"data-{name}-0"}}
    # A bucket may be larger than the volume of backups; its versioning keeps what was in it.
    options = [] if "files" in folders_of else ["--without-buckets"]
    container = {
        "name": NAME,
        "image": suite.choices.image(IMAGE),
        "command": ["python", "-m", "gatehouse", "backup", "--to", FOLDER, "--keep", KEEP, *options],
        "envFrom": [
            {"configMapRef": {"name": "addresses"}},
            {"configMapRef": {"name": f"more-{NAME}", "optional": True}},
            {"secretRef": {"name": f"more-{NAME}", "optional": True}},
        ],
        "env": [pods.variable_reference(one) for one in _variables(suite, folders_of)],
        "resources": pods.limits("250m", "512Mi", "1Gi"),
        "securityContext": pods.CONFINED,
        "volumeMounts": [{"name": pods.volume_name(path), "mountPath": path} for path in volumes],
    }
    pod = pods.pod(NAME, [container], volumes, user=pods.USER, uses=(DATABASE,))
    pod["spec"]["restartPolicy"] = "Never"
    if folders_of:
        # A volume is on one node, so the job has to run there.
        beside = [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels(name)}}
            for name in folders_of
        ]
        pod["spec"]["affinity"] = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": beside}}
    return pod


def _variables(suite: Suite, folders_of: tuple[str, ...]) -> Iterator[Variable]:
    """Yield the settings of all programs: `ORDERS_DATABASE_URL` is the DATABASE_URL of orders."""
    shared: dict[str, Variable] = {}
    for program in suite.programs:
        for variable in program.variables:
            if variable.name in _OF_ONE_PROCESS:
                continue
            if variable.is_common or variable.secret == COMMON:
                shared.setdefault(variable.name, variable)
            else:
                yield variable.under(program.prefix)
        if program.name in folders_of:
            yield Variable(f"{program.prefix}DATA_DIR", _folder(program.name))
    yield from shared.values()
    yield Variable("ROUTES_FILE", f"{ROUTES_FOLDER}/routes.yaml")
    yield Variable(PASSPHRASE, given=PASSPHRASE, secret=NAME, is_required=True)


def _folder(name: str) -> str:
    return f"/volumes/{name}"
