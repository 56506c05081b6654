"""Writes the manifests as files: the base, and overlays that only add to it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from gatehouse.kubernetes import base, observing, overlays
from gatehouse.kubernetes.objects import NAMESPACE, Manifest
from gatehouse.kubernetes.suite import Choices, read

FOLDER = Path("deploy/kubernetes")
HEAD = "# Drawn by `gatehouse kubernetes` (docs/kubernetes.md): change the list of services, not this file.\n"
KUSTOMIZATION = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}


class _Dumper(yaml.SafeDumper):
    """Writes multi-line texts as blocks, and repeated values in full instead of as aliases."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _Dumper.represent_text)


def drawn(root: Path, choices: Choices = Choices()) -> dict[Path, str]:  # noqa: B008 - it is frozen
    """Return the content of every file, by its path below the folder of manifests."""
    suite = read(root, choices)
    ways: dict[str, tuple[list[str], Mapping[str, list[Manifest]]]] = {
        "base": ([], base.drawn(suite)),
        "one-node": (["../base"], overlays.one_node(suite)),
        "production": (["../base"], overlays.production(suite)),
        "observe": ([], observing.drawn(suite)),
    }
    files: dict[Path, str] = {}
    for way, (inherited, manifests) in ways.items():
        resources = [*inherited, *sorted(manifests)]
        kustomization = {**KUSTOMIZATION, "namespace": NAMESPACE, "resources": resources}
        files[Path(way) / "kustomization.yaml"] = HEAD + text(kustomization)
        files |= {Path(way) / name: HEAD + text(*found) for name, found in manifests.items()}
    return files


def text(*documents: Manifest) -> str:
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)


def write(root: Path, folder: Path, choices: Choices = Choices()) -> list[Path]:  # noqa: B008
    """Write the files that differ, remove those that are no longer drawn, and return both."""
    wanted = {folder / file: content for file, content in drawn(root, choices).items()}
    changed = [file for file, content in wanted.items() if not file.exists() or file.read_text() != content]
    for file in changed:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(wanted[file])
    old = [file for file in stale(folder) if file not in wanted]
    for file in old:
        file.unlink()
    return [*changed, *old]


def stale(folder: Path) -> list[Path]:
    """Return the files that were drawn into this folder; others are left alone."""
    return [file for file in sorted(folder.glob("*/*.yaml")) if file.read_text().startswith(HEAD)]
