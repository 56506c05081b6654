"""The kustomization in docs/kubernetes.md, with which operators change what `gatehouse kubernetes` draws."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gatehouse.kubernetes import drawing
from tests.shared.processes import ROOT

PAGE = (ROOT / "docs/kubernetes.md").read_text()
(EXAMPLE,) = re.findall(
    r"^```yaml\n# my-changes/kustomization.yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
)
FILES = re.findall(r"- target: .*  # (\S+)$", EXAMPLE, re.MULTILINE)


def test_every_patch_changes_an_object_of_the_file_it_names() -> None:
    drawn = {str(file): [*yaml.safe_load_all(text)] for file, text in drawing.drawn(ROOT).items()}

    assert {"production/settings.yaml", "production/servers.yaml", "observe/alertmanager.yaml"} <= {*FILES}
    for file, change in zip(FILES, yaml.safe_load(EXAMPLE)["patches"], strict=True):
        kind, names = change["target"]["kind"], change["target"]["name"].split("|")
        targets = [one for one in drawn[file] if one["kind"] == kind and one["metadata"]["name"] in names]
        assert [one["metadata"]["name"] for one in targets] == names
        for step in yaml.safe_load(change["patch"]):
            for target in targets:
                assert type(at(target, step["path"])) is type(step["value"])


def at(target: Any, path: str) -> Any:
    for part in path.strip("/").split("/"):
        target = target[int(part) if isinstance(target, list) else part]
    return target


def test_changes_outlive_a_new_drawing(tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("not installed: kubectl")
    changes = tmp_path / "my-changes"
    changes.mkdir()
    (changes / "kustomization.yaml").write_text(EXAMPLE)
    for _ in range(2):
        drawing.write(ROOT, tmp_path / "my-cluster")
        command = [kubectl, "kustomize", str(changes)]
        built = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "S3_BUCKET: my-files" in built
        assert built.count("cidr: 10.1.2.0/24") == 2
        assert "receivers: [{name: team" in built
        assert "maxReplicas: 12" in built
