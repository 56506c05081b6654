"""The example in docs/chassis/pdf.md does what the page says."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from shared.pdf.renderer import Renderer
from tests.pdfs import archive_faults, text_of

PAGE = Path(__file__).resolve().parents[3] / "docs" / "chassis" / "pdf.md"


async def test_example_writes_a_letter(tmp_path: Path) -> None:
    blocks = dict(re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL))
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "letter.typ").write_text(blocks["typst"])
    names: dict[str, Any] = {"Path": Path, "Renderer": Renderer, "datetime": datetime}
    names |= {"__file__": str(tmp_path / "letters.py"), "log": structlog.get_logger()}
    exec(blocks["python"], names)

    async with names["renderer"] as renderer:
        pdf = await names["letter"](renderer, "#Ann 水", datetime(2026, 1, 31, tzinfo=UTC))

    assert "Dear #Ann [U+6C34]" in text_of(pdf)
    assert archive_faults(pdf, title="Letter to #Ann [U+6C34]") == []
