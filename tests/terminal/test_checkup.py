"""What `gatehouse doctor` checks for the terminal service."""

from pathlib import Path

import pytest

from services.terminal import checkup
from services.terminal.settings import Settings
from shared.testing import TEST_INTERNAL_SECRET


def test_boxes_need_an_engine_with_their_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def states(backend: str) -> list[str]:
        own = {"internal_secret": TEST_INTERNAL_SECRET, "docker_socket": str(tmp_path / "none")}
        settings = Settings.model_validate({**own, "box_backend": backend, "data_dir": tmp_path})
        return [found.state for found in checkup.checks(settings)]

    assert states("process") == ["warning"]
    assert states("docker") == ["fault"]
    monkeypatch.setattr(checkup, "has_image", lambda _socket, _image: True)
    assert states("docker") == ["good"]
