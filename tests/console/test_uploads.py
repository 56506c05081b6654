"""An upload is shown as done only once the service has said that it has all of the file."""

import json
import shutil
import subprocess
from pathlib import Path

from tests import support

CONSOLE = Path(__file__).parents[2] / "gateway" / "console"


def test_upload_is_done_only_when_the_service_has_the_file(tmp_path: Path) -> None:
    (node,) = support.need("node")
    for folder in ("core", "vendor"):
        shutil.copytree(CONSOLE / folder, tmp_path / folder)
    shutil.copy(Path(__file__).with_name("uploads.mjs"), tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')

    done = subprocess.run(
        [node, "uploads.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    requests = {
        "the connection dies, and the next two as well": "POST, PATCH 0, HEAD, HEAD, HEAD, PATCH 0",
        "the response is lost": "POST, PATCH 0, HEAD",
        "the response does not say how much is stored": "POST, PATCH 0, HEAD",
        "paused before the response": "POST, PATCH 0, HEAD, PATCH 0",
    }
    assert json.loads(done.stdout) == {
        name: {"state": "done", "isWhole": True, "requests": asked.split(", ")}
        for name, asked in requests.items()
    }
