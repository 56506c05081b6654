"""The alerts in deploy/prometheus: each is valid, fires when it should, and has an entry in the runbook."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests import support
from tests.test_documentation import anchors

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "deploy" / "prometheus"
# What happens within days is evaluated every ten minutes, because promtool would need minutes otherwise.
TESTS = sorted((FOLDER / "tests").glob("*.yml"))


def rules(name: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / name).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def promtool(*arguments: str) -> None:
    (program,) = support.need("promtool")
    done = subprocess.run([program, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_are_valid_and_every_alert_fires_when_it_should() -> None:
    promtool("check", "rules", "rules.yml", "alerts.yml")
    promtool("test", "rules", *(f"tests/{file.name}" for file in TESTS))


def test_the_configuration_for_containers_is_valid(tmp_path: Path) -> None:
    token = tmp_path / "metrics-token"
    token.write_text("token")
    folder = tmp_path / "prometheus"
    shutil.copytree(FOLDER, folder)
    text = (FOLDER / "prometheus.yml").read_text()
    (folder / "prometheus.yml").write_text(text.replace("/tmp/metrics-token", str(token)))
    promtool("check", "config", str(folder / "prometheus.yml"))


def test_the_containers_of_prometheus_are_confined_and_reach_what_they_scrape() -> None:
    observers = yaml.safe_load((ROOT / "deploy" / "compose.observe.yml").read_text())["services"]
    suite = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]

    assert observers.keys() == {"prometheus", "alertmanager"}
    for container in observers.values():
        assert container["profiles"] == ["observe"]
        assert (container["cap_drop"], container["read_only"]) == (["ALL"], True)
        assert all(port.startswith("127.0.0.1:") for port in container["ports"])
        assert ":latest" not in container["image"]
    assert {"default", "services"} == set(observers["prometheus"]["networks"])
    assert "services" in suite["gateway"]["networks"]


def test_the_tests_of_alerts_cover_every_alert_silent_or_firing() -> None:
    tests = [test for file in TESTS for test in yaml.safe_load(file.read_text())["tests"]]
    checks = [check for test in tests for check in test["alert_rule_test"]]
    firing = {check["alertname"] for check in checks if check["exp_alerts"]}

    assert firing == {rule["alert"] for rule in rules("alerts.yml")}


def test_every_alert_has_a_heading_in_the_runbook_that_its_annotation_links() -> None:
    alerts = {rule["alert"]: rule["annotations"]["runbook"] for rule in rules("alerts.yml")}
    known = anchors(ROOT / "docs" / "runbook.md")
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)

    assert len(alerts) >= 12
    for name, link in alerts.items():
        page, _, anchor = link.partition("#")
        assert (page, anchor) == ("docs/runbook.md", name.lower())
        assert anchor in known
    assert sorted(headings) == sorted(alerts)
