"""Links, anchors, paths and make targets in the documentation exist."""

import re
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

from shared import __version__

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"""\]\(([^)\s]+)\)|(?:src|srcset)="([^"]+)\"""")
# A path in backticks below one of the project's directories; names with `<name>` or `*` do not match.
NAMED_PATH = re.compile(
    r"`((?:gateway|services|shared|contracts|gatehouse|tests|docs|deploy|nginx)/[\w./-]*)`"
)
NO_PATHS = {"services/billing/", "tests/billing/", "gatehouse/audit"}  # examples, and a log's name
TARGET = re.compile(r"\bmake ([a-z][a-z-]+)\b")
FOREIGN = ("http://", "https://", "mailto:")


def tracked(pattern: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(ROOT / name for name in listed.stdout.split() if (ROOT / name).exists())


PAGES = tracked("*.md")
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """Return the anchors of all headings, computed like GitHub's."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ +(.*?) *$", prose(page), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        number = found.get(slug, 0)
        found[slug] = number + 1
        if number:
            found[f"{slug}-{number}"] = 1
    return set(found)


def link_faults(page: Path, text: str) -> list[str]:
    faults = []
    for link in (first or second for first, second in LINK.findall(FENCE.sub("", text))):
        if link.startswith(FOREIGN):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            faults.append(f"{link}: there is no such file")
        elif not target.is_relative_to(ROOT):
            faults.append(f"{link}: leads outside the repository")
        elif anchor and anchor not in anchors(target):
            faults.append(f"{link}: there is no such heading")
    return faults


@every_page
def test_relative_links_and_anchors_resolve(page: Path) -> None:
    assert link_faults(page, page.read_text()) == []


def table_faults(page: Path) -> list[str]:
    """Return the rows that have more or fewer cells than the head of their table."""
    faults: list[str] = []
    columns = None
    for line in prose(page).splitlines():
        if not line.startswith("|"):
            columns = None
            continue
        cells = re.sub(r"\\.", "", line.strip()).strip("|").count("|") + 1
        columns = columns or cells
        if cells != columns:
            faults.append(line)
    return faults


def test_rows_of_tables_have_as_many_cells_as_their_head() -> None:
    assert [(str(page.relative_to(ROOT)), fault) for page in PAGES for fault in table_faults(page)] == []


@every_page
def test_paths_named_on_a_page_exist(page: Path) -> None:
    if page.name == "CHANGELOG.md":  # older entries name files that no longer exist
        return
    named = set(NAMED_PATH.findall(prose(page)))

    assert sorted(name for name in named - NO_PATHS if not (ROOT / name).exists()) == []


@every_page
def test_make_targets_named_on_a_page_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    code = "\n".join([*re.findall(r"`([^`\n]+)`", page.read_text()), *FENCE.findall(page.read_text())])

    assert sorted(set(TARGET.findall(code)) - targets) == []


def test_every_page_in_docs_is_reachable_from_its_index() -> None:
    reached, queue = set[Path](), [ROOT / "docs/README.md"]
    while queue:
        page = queue.pop()
        if page in reached:
            continue
        reached.add(page)
        links = [first for first, _ in LINK.findall(prose(page)) if first and not first.startswith(FOREIGN)]
        targets = [(page.parent / link.partition("#")[0]).resolve() for link in links]
        pages = [
            page for target in targets for page in (target.glob("*.md") if target.is_dir() else [target])
        ]
        queue += [page for page in pages if page.suffix == ".md" and page.is_file()]

    assert sorted(set((ROOT / "docs").rglob("*.md")) - reached) == []


def test_image_files_of_the_documentation_are_small() -> None:
    pictures = [file for file in (ROOT / "docs/images").iterdir() if file.suffix in (".png", ".svg")]

    assert pictures
    assert [file.name for file in pictures if file.stat().st_size > 120_000] == []


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ("nowhere.md", "no such file"),
        ("README.md#no-such-heading", "no such heading"),
        ("../elsewhere", "no such file"),
        ("README.md#documentation", None),
    ],
)
def test_broken_link_is_reported(link: str, fault: str | None) -> None:
    faults = link_faults(ROOT / "docs/page.md", f"See [this]({link}).")

    assert [fault is not None and fault in one for one in faults] == ([True] if fault else [])


def test_changelog_has_a_dated_section_for_this_version() -> None:
    sections = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert sections[0] == "Unreleased"
    assert re.fullmatch(rf"{re.escape(__version__)} - \d{{4}}-\d\d-\d\d", sections[1])
