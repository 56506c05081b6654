"""Documents that the worker renders: what they promise, and what happens if it is slow, greedy or killed."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.errors import Overloaded
from shared.pdf.errors import NotRendered, Reason
from shared.pdf.renderer import Limits, Renderer
from tests.pdfs import archive_faults, created, tags_of, text_of

LETTER = """
#let data = json(bytes(sys.inputs.data))
#set document(title: data.title)
#set text(font: "Libertinus Serif", lang: "en")
= #data.title
#data.text
#table(columns: 2, table.header[Name][Pieces], data.text, [1])
#data.unshown.join(" ")
"""
SLOW = "#for a in range(10000) { for b in range(10000) { for c in range(10000) { } } }"
GREEDY = "#let all = range(100000000)"
HOSTILE = '#panic() *bold* $x$ _a_ `raw` <label> @ref // comment /* */ "quoted" \\u{41} #import "x" = Heading'
ISSUED = datetime(2026, 1, 31, 12, tzinfo=UTC)
CJK = Path("/usr/share/fonts/opentype/noto")
LIMITS = Limits(
    seconds=60.0, start_seconds=60.0, whole_seconds=120.0
)  # the machine may be busy; tests of the limit set it


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    folder = tmp_path / "templates"
    folder.mkdir()
    for name, source in {"letter": LETTER, "slow": SLOW, "greedy": GREEDY}.items():
        (folder / f"{name}.typ").write_text(source)
    return folder


@pytest.fixture
async def renderer(templates: Path) -> AsyncIterator[Renderer]:
    async with Renderer(templates, limits=LIMITS) as made:
        yield made


async def letter(renderer: Renderer, text: str = "Hello", title: str = "A letter") -> bytes:
    return (await renderer.render("letter.typ", {"title": title, "text": text}, ISSUED)).pdf


def pid_of(renderer: Renderer) -> int:
    assert renderer._worker is not None
    return renderer._worker.pid


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


async def until_at_work(renderer: Renderer) -> None:
    while not renderer._turn.locked():  # noqa: ASYNC110 - a lock has no event
        await asyncio.sleep(0)


async def test_document_is_archivable_and_readable_by_screen_readers(renderer: Renderer) -> None:
    pdf = await letter(renderer)

    assert archive_faults(pdf, title="A letter") == []
    assert {"H1", "Table", "TH", "TD"} <= tags_of(pdf)
    assert created(pdf) == "D:20260131120000Z"


async def test_source_in_the_data_comes_out_as_text(renderer: Renderer) -> None:
    assert HOSTILE in text_of(await letter(renderer, HOSTILE)).replace("\n", " ")


async def test_two_workers_render_the_same_bytes(templates: Path, renderer: Renderer) -> None:
    async with Renderer(templates, limits=LIMITS) as other:
        await letter(other, "something else before")

        assert await letter(renderer) == await letter(other) == await letter(renderer)
        assert await letter(renderer, "Hullo") != await letter(renderer)


async def test_service_starts_no_worker_before_the_first_document(renderer: Renderer) -> None:
    assert renderer._worker is None
    await letter(renderer)
    assert is_alive(pid_of(renderer))


async def test_closing_ends_the_worker(templates: Path) -> None:
    async with Renderer(templates, limits=LIMITS) as renderer:
        await letter(renderer)
        pid = pid_of(renderer)

    assert not is_alive(pid)


async def test_worker_is_replaced_after_its_number_of_documents(templates: Path) -> None:
    async with Renderer(templates, limits=replace(LIMITS, documents_per_worker=2)) as renderer:
        pids = []
        for _ in range(5):
            await letter(renderer)
            pids.append(pid_of(renderer))

    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]


async def test_worker_that_has_kept_much_memory_is_replaced(templates: Path) -> None:
    async with Renderer(templates, limits=replace(LIMITS, memory=160 * 1024 * 1024)) as renderer:
        first = await letter(renderer)  # the worker reserves more than half before any document

        assert renderer._worker is None
        assert await letter(renderer) == first


async def test_document_that_takes_too_long_is_given_up_and_the_next_one_is_rendered(templates: Path) -> None:
    async with Renderer(templates, limits=replace(LIMITS, seconds=0.5)) as renderer:
        with pytest.raises(NotRendered) as caught:
            await renderer.render("slow.typ", {}, ISSUED)
        assert caught.value.reason == Reason.TOOK_TOO_LONG
        assert renderer._worker is None

    async with Renderer(templates, limits=LIMITS) as renderer:
        assert "Hello" in text_of(await letter(renderer))


async def test_document_that_takes_too_much_memory_ends_only_the_worker(renderer: Renderer) -> None:
    with pytest.raises(NotRendered) as caught:
        await renderer.render("greedy.typ", {}, ISSUED)

    assert caught.value.reason == Reason.WORKER_DIED
    assert "Hello" in text_of(await letter(renderer))


async def test_worker_that_was_killed_while_idle_is_replaced_unnoticed(renderer: Renderer) -> None:
    first = await letter(renderer)
    assert renderer._worker is not None
    os.kill(pid_of(renderer), signal.SIGKILL)
    await renderer._worker.wait()

    assert await letter(renderer) == first


async def test_worker_that_is_killed_at_work_is_a_named_error_and_the_next_try_succeeds(
    renderer: Renderer,
) -> None:
    await letter(renderer)
    rendering = asyncio.create_task(renderer.render("slow.typ", {}, ISSUED))
    await until_at_work(renderer)
    os.kill(pid_of(renderer), signal.SIGKILL)

    with pytest.raises(NotRendered) as caught:
        await rendering
    assert caught.value.reason == Reason.WORKER_DIED
    assert (caught.value.status, caught.value.extensions) == (503, {"reason": "worker_died"})
    assert "Hello" in text_of(await letter(renderer))


async def test_cancelled_request_does_not_leave_its_document_to_the_next_one(renderer: Renderer) -> None:
    await letter(renderer)
    for _ in range(3):
        rendering = asyncio.create_task(letter(renderer, "for somebody else"))
        await until_at_work(renderer)
        rendering.cancel()
        with suppress(asyncio.CancelledError):
            await rendering

        assert "Hello" in text_of(await letter(renderer))


async def test_worker_that_cannot_start_is_a_named_error(
    templates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    async with Renderer(templates, limits=LIMITS) as renderer:
        with pytest.raises(NotRendered) as caught:
            await letter(renderer)

    assert caught.value.reason == Reason.WORKER_NOT_STARTED


async def test_document_beyond_the_limit_is_refused(templates: Path) -> None:
    async with Renderer(templates, limits=replace(LIMITS, pdf_bytes=1000)) as renderer:
        with pytest.raises(NotRendered) as caught:
            await letter(renderer)

    assert caught.value.reason == Reason.TOO_LARGE


async def test_requests_beyond_the_queue_are_refused_at_once(templates: Path) -> None:
    async with Renderer(templates, limits=replace(LIMITS, waiting=2)) as renderer:
        rendered = await asyncio.gather(*[letter(renderer) for _ in range(5)], return_exceptions=True)

    assert [type(one) for one in rendered] == [bytes, bytes, Overloaded, Overloaded, Overloaded]


async def test_request_whose_turn_does_not_come_is_given_up(templates: Path) -> None:
    async with Renderer(templates, limits=replace(LIMITS, whole_seconds=0.1)) as renderer, renderer._turn:
        with pytest.raises(NotRendered) as caught:
            async with asyncio.timeout(30):  # only if the limit does not work
                await letter(renderer)

    assert caught.value.reason == Reason.TOOK_TOO_LONG
    assert renderer._waiting == 0


@pytest.mark.parametrize(
    "source",
    [
        '#read("../secret")',
        '#read("/../../etc/hostname")',
        '#read("/etc/hostname")',
        "#panic(1)",
        "#let broken = (",
        "no title, so no PDF/UA",
        '#import "@" + "preview/example:0.1.0": *',
    ],
)
async def test_template_that_leaves_its_folder_or_does_not_compile_is_refused(
    templates: Path, source: str
) -> None:
    (templates.parent / "secret").write_text("secret")
    (templates / "bad.typ").write_text(source)
    async with Renderer(templates, limits=LIMITS) as renderer:
        with pytest.raises(NotRendered) as caught:
            await renderer.render("bad.typ", {}, ISSUED)
        assert caught.value.reason == Reason.NOT_COMPILED
        assert "Hello" in text_of(await letter(renderer))


@pytest.mark.parametrize("name", ["@preview/example:0.1.0", "@local/example:0.1.0"])
def test_templates_that_import_packages_are_refused_at_start(templates: Path, name: str) -> None:
    (templates / "parts").mkdir()
    (templates / "parts" / "bad.typ").write_text(f'#import "{name}": *')

    with pytest.raises(ValueError, match="imports a package"):
        Renderer(templates)


async def test_worker_knows_no_secrets_of_the_service(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTERNAL_SECRET", "very-secret-value")
    await letter(renderer)

    assert b"very-secret-value" not in environment_of(pid_of(renderer))


def test_service_does_not_load_the_compiler() -> None:
    program = "import sys, shared.pdf.renderer; sys.exit('typst' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


class TestCharacters:
    async def test_latin_greek_cyrillic_and_hebrew_are_shown(self, renderer: Renderer) -> None:
        text = "Ænima Łódź Ştefan Ἀθῆναι Ёлка Їжак € № עברית"
        rendered = await renderer.render("letter.typ", {"title": "T", "text": text}, ISSUED)

        assert rendered.unshown == ()
        for word in text.split()[:-1]:
            assert word in text_of(rendered.pdf)

    async def test_characters_that_no_font_has_are_written_as_numbers(self, renderer: Renderer) -> None:
        rendered = await renderer.render("letter.typ", {"title": "T", "text": "水野 Ann 🎉"}, ISSUED)

        assert rendered.unshown == ("U+1F389", "U+6C34", "U+91CE")
        text = text_of(rendered.pdf)
        assert "[U+6C34][U+91CE] Ann [U+1F389]" in text
        assert "U+1F389 U+6C34 U+91CE" in text  # the template can explain them
        assert archive_faults(rendered.pdf, title="T") == []

    @pytest.mark.parametrize("character", "\x01\x7f\u202e\u2066\ufeff\ue000\ufffe\u0378\U0010ffff")
    async def test_control_private_and_unassigned_characters_are_written_as_numbers(
        self, renderer: Renderer, character: str
    ) -> None:
        rendered = await renderer.render("letter.typ", {"title": "T", "text": f"a{character}b"}, ISSUED)

        assert f"a[U+{ord(character):04X}]b" in text_of(rendered.pdf)

    async def test_other_spaces_become_spaces(self, renderer: Renderer) -> None:
        text = "a\tb\u1680c\u2028d\u3000e"
        rendered = await renderer.render("letter.typ", {"title": "T", "text": text}, ISSUED)

        assert "a b c d e" in text_of(rendered.pdf)

    @pytest.mark.skipif(not CJK.is_dir(), reason="needs a font for Chinese, Japanese and Korean")
    async def test_further_fonts_are_used(self, templates: Path) -> None:
        async with Renderer(templates, fonts=CJK, limits=LIMITS) as renderer:
            rendered = await renderer.render("letter.typ", {"title": "T", "text": "水野 Ann"}, ISSUED)

        assert rendered.unshown == ()
        assert "水野" in text_of(rendered.pdf)
        assert archive_faults(rendered.pdf, title="T") == []

    async def test_every_character_is_shown_or_written_as_a_number(self, renderer: Renderer) -> None:
        surrogates = range(0xD800, 0xE000)
        characters = [chr(one) for one in range(1, 0x3000) if one not in surrogates]
        for start in range(0, len(characters), 500):
            # Among them are right-to-left scripts without a font, at which the compiler of typst 0.15 panics.
            text = " ".join(characters[start : start + 500])
            assert (await renderer.render("letter.typ", {"title": "T", "text": text}, ISSUED)).pdf
