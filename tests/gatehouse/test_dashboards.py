"""The dashboards in deploy/grafana are those that the command draws, and can be imported."""

import json
from pathlib import Path

import pytest

from gatehouse import cli, dashboards
from tests.shared.processes import ROOT


def test_the_files_are_as_the_command_draws_them() -> None:
    stale = [file.name for file, text in dashboards.drawn(ROOT).items() if file.read_text() != text]

    assert stale == [], "run gatehouse dashboards"
    assert sorted(file.name for file in (ROOT / dashboards.FOLDER).iterdir()) == sorted(
        file.name for file in dashboards.drawn(ROOT)
    )


def test_the_command_writes_what_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dashboards, "ROOT", tmp_path)
    assert cli.main(["dashboards"]) == 0
    assert capsys.readouterr().out.count("wrote ") == len(dashboards.TABLE)
    assert cli.main(["dashboards"]) == 0
    assert capsys.readouterr().out == ""


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    for text in dashboards.drawn(ROOT).values():
        board = json.loads(text)
        panels = board["panels"]
        places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
        assert len({panel["id"] for panel in panels}) == len(places) == len(panels)
        chosen = {f"${one['name']}" for one in board["templating"]["list"]} - {"$source"}
        used = {word for word in ("$route", "$service") if word in text.replace('"$source', "")}
        assert used == chosen
