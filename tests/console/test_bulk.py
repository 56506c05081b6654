"""An action on many rows changes only rows that are still chosen, in the list that is shown."""

import json
import shutil
import subprocess
from pathlib import Path

from tests import support

FOLDER = Path(__file__).parent
CONSOLE = FOLDER.parents[1] / "gateway" / "console"


def test_action_stops_at_rows_that_are_no_longer_chosen_or_shown(tmp_path: Path) -> None:
    (node,) = support.need("node")
    for folder in ("core", "pages", "parts", "vendor"):
        shutil.copytree(CONSOLE / folder, tmp_path / folder)
    for name in ("bulk.mjs", "dom.mjs"):
        shutil.copy(FOLDER / name, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')

    done = subprocess.run(
        [node, "bulk.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    first, all_of_them = ["one"], ["one", "two", "three", "four"]
    assert json.loads(done.stdout) == {
        "nothing is changed meanwhile": {
            "asked": all_of_them,
            "chosen": [],
            "said": ["4 orders confirmed."],
        },
        "a row is deselected": {
            "asked": ["one", "three", "four"],
            "chosen": [],
            "said": ["3 orders confirmed."],
        },
        "another filter is chosen": {"asked": first, "chosen": [], "said": ["1 order confirmed."]},
        "rows are chosen in the new list": {
            "asked": first,
            "chosen": ["four"],
            "said": ["1 order confirmed."],
        },
        "the request is refused after another filter was chosen": {
            "asked": first,
            "chosen": [],
            "said": ["1 order could not be changed."],
        },
    }
