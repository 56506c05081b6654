"""The alerts in deploy/prometheus: each is valid, fires when it should, and has an entry in the runbook."""

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests import support
from tests.test_documentation import anchors

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "deploy" / "prometheus"


def rules(name: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / name).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def promtool(*arguments: str) -> None:
    (program,) = support.need("promtool")
    done = subprocess.run([program, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_are_valid_and_every_alert_fires_when_it_should() -> None:
    promtool("check", "rules", "rules.yml", "alerts.yml")
    promtool("test", "rules", "tests/alerts.yml")


def test_the_tests_of_alerts_cover_every_alert_silent_or_firing() -> None:
    tests = yaml.safe_load((FOLDER / "tests" / "alerts.yml").read_text())["tests"]
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
