"""What recipients see of every mail in every language, compared with stored files.

After an intended change, run this file with `REWRITE_SNAPSHOTS=1`, then
look at the difference.
"""

import os
from pathlib import Path

import pytest

from services.notifications.languages import Language
from services.notifications.mail.rendering import render
from services.notifications.mail.templates import TEMPLATES, built_in

FOLDER = Path(__file__).parent / "snapshots"


@pytest.mark.parametrize("kind", ["text", "html"])
@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("language", Language)
def test_mail_looks_as_it_did(language: Language, name: str, kind: str) -> None:
    mail = render(built_in(name, language), TEMPLATES[name].sample_in(language), language)
    shown = mail.html if kind == "html" else f"{mail.subject}\n\n{mail.text}"
    file = FOLDER / language / f"{name}.{'html' if kind == 'html' else 'txt'}"
    if os.environ.get("REWRITE_SNAPSHOTS"):
        file.write_text(shown, encoding="utf-8")

    assert shown == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("language", Language)
def test_there_is_no_snapshot_of_a_mail_that_is_gone(language: Language) -> None:
    assert {file.stem for file in (FOLDER / language).iterdir()} == set(TEMPLATES)
