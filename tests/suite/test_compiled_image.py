"""The image of the gateway with its hot modules compiled."""

import subprocess
from collections.abc import Iterator

import pytest

from gateway import compiled
from shared.ids import new_id
from tests import support
from tests.suite.conftest import ROOT
from tests.suite.test_containers import BUILD_SECONDS

pytestmark = [
    pytest.mark.prove,
    pytest.mark.long(2, group="images"),
    pytest.mark.timeout(1200),  # it builds the image
]

SHOW = "import gateway, gateway.http.headers as it; print(repr(gateway.WHY_NOT_COMPILED), it.__file__)"


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    (docker,) = support.need("docker")
    support.need_answer([docker, "info"], "no Docker engine responds")
    name = f"gatehouse-test-{new_id()[-8:]}"
    build = [docker, "build", "--target", "gateway", "--build-arg", "COMPILED=true", "--tag", name, "."]
    try:
        done = subprocess.run(
            build, cwd=ROOT, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
        )
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr
        yield name
    finally:
        subprocess.run([docker, "rmi", "--force", name], capture_output=True, check=False)


def test_image_runs_the_compiled_modules_and_refuses_to_run_without(image: str) -> None:
    inside = ["docker", "run", "--rm", "--read-only", "--env", f"{compiled.WISH}=true"]
    show = [*inside, image, "python", "-c", SHOW]
    shown = subprocess.run(show, capture_output=True, text=True, check=False)
    assert shown.stdout.startswith("'' /app/.compiled/gateway/http/headers"), shown.stdout + shown.stderr

    without = [*inside, "--tmpfs", f"/app/{compiled.FOLDER}", image]
    refused = subprocess.run(without, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert compiled.ABSENT in refused.stderr, refused.stdout + refused.stderr
