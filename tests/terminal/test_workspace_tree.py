"""The file engine of workspaces, without a service: links, races, odd files, limits."""

import ctypes
import errno
import io
import os
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.terminal.errors import (
    BadPath,
    Changing,
    Exists,
    HomeFull,
    IntoItself,
    NotPermitted,
    WrongKind,
)
from services.terminal.workspace import archive, beneath, walks
from services.terminal.workspace.archive import zip_pieces
from services.terminal.workspace.paths import DEPTH_MAX, parts_of
from services.terminal.workspace.tree import Tree, refusals
from services.terminal.workspace.walks import Budget, Meter, copy, list_all, list_folder, remove
from shared.errors import NotFound, Stale

SECRET = b"of the host"
AT_FDCWD, RENAME_EXCHANGE = -100, 2


@pytest.fixture(params=["openat2", "by parts"])
def tree(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tree]:
    if request.param == "by parts":
        monkeypatch.setattr(beneath, "has_openat2", lambda: False)
    home = tmp_path / "home"
    (home / "folder/below").mkdir(parents=True)
    (home / "folder/file").write_bytes(b"content")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_bytes(SECRET)
    with Tree(home, tmp_path / "area") as opened:
        yield opened


def home_of(tree: Tree) -> Path:
    return Path(f"/proc/self/fd/{tree.fd}").readlink()


def read(tree: Tree, path: str) -> bytes:
    descriptor, _ = tree.open_file(parts_of(path))
    try:
        return os.read(descriptor, 100)
    finally:
        os.close(descriptor)


def stage(tree: Tree, content: bytes) -> str:
    with tree.in_area("staging") as folder:
        descriptor = os.open("staged", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=folder)
        os.write(descriptor, content)
        os.close(descriptor)
    return "staged"


def write(tree: Tree, path: str, content: bytes, *, replace: bool = False) -> str:
    name = stage(tree, content)
    with tree.in_area("staging") as folder:
        return tree.place(folder, name, parts_of(path), replace=replace).path


@given(st.text(max_size=300))
def test_accepted_path_has_only_plain_parts(path: str) -> None:
    with suppress(BadPath):
        parts = parts_of(path, root=True)
        assert not {"", ".", ".."} & set(parts)
        assert all(0 < len(part.encode()) <= 255 and "/" not in part and "\0" not in part for part in parts)


@pytest.mark.parametrize(
    "path",
    ["", "/", ".", "..", "a/../b", "a//b", "a/.", "../x", "a\0b", "x" * 256, "a/" * 101 + "a", "\ud800"],
)
def test_path_that_climbs_or_is_too_long_is_refused(path: str) -> None:
    with pytest.raises(BadPath):
        parts_of(path)


@pytest.mark.parametrize("link", ["/etc/passwd", "../outside/secret", "folder/../../outside/secret"])
def test_link_that_leads_out_is_neither_read_nor_written_through(tree: Tree, link: str) -> None:
    (home_of(tree) / "link").symlink_to(link)
    with pytest.raises(NotFound), refusals():
        read(tree, "link")
    with pytest.raises(WrongKind), refusals():
        write(tree, "link", b"x", replace=True)
    with pytest.raises(Exists), refusals():
        write(tree, "link", b"x")
    assert (home_of(tree).parent / "outside/secret").read_bytes() == SECRET


def test_folder_link_that_leads_out_is_refused_by_every_operation(tree: Tree) -> None:
    (home_of(tree) / "out").symlink_to("../outside")
    tries: list[Callable[[], object]] = [
        lambda: read(tree, "out/secret"),
        lambda: list_folder(tree, parts_of("out"), None, 10, hidden=True),
        lambda: list_all(tree, parts_of("out"), 10, hidden=True),
        lambda: write(tree, "out/new", b"x"),
        lambda: write(tree, "out/secret", b"x", replace=True),
        lambda: tree.make_folder(parts_of("out/new")),
        lambda: tree.move(parts_of("out/secret"), parts_of("taken")),
        lambda: tree.move(parts_of("folder/file"), parts_of("out/file")),
        lambda: tree.entry(parts_of("out/secret")),
        lambda: [*zip_pieces(tree, parts_of("out"))],
    ]
    for one in tries:
        with pytest.raises((NotFound, WrongKind)), refusals():
            one()
    with tree.in_area("gone") as gone, pytest.raises((NotFound, WrongKind)), refusals():
        tree.take_out(parts_of("out/secret"), gone, "x")
    assert [one.name for one in (home_of(tree).parent / "outside").iterdir()] == ["secret"]


def test_link_itself_can_be_listed_moved_and_deleted(tree: Tree) -> None:
    (home_of(tree) / "out").symlink_to("../outside")
    entries, _ = list_folder(tree, (), None, 10, hidden=False)
    assert [(one.name, one.kind, one.target) for one in entries] == [
        ("folder", "folder", None),
        ("out", "link", "../outside"),
    ]
    assert tree.move(("out",), ("renamed",)).kind == "link"
    with tree.in_area("gone") as gone:
        tree.take_out(("renamed",), gone, "link")
        remove(gone, "link")
    assert (home_of(tree).parent / "outside/secret").exists()


def test_link_within_the_workspace_is_followed_only_for_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "file").write_bytes(b"content")
    (home / "link").symlink_to("file")
    with Tree(home, tmp_path / "area") as tree:
        if beneath.has_openat2():
            assert read(tree, "link") == b"content"
        with pytest.raises(WrongKind), refusals():
            write(tree, "link", b"x", replace=True)
        monkeypatch.setattr(beneath, "has_openat2", lambda: False)
        with pytest.raises(NotFound), refusals():
            read(tree, "link")


def test_fifo_socket_or_folder_is_not_read_and_does_not_block(tree: Tree) -> None:
    os.mkfifo(home_of(tree) / "fifo")
    for path in ("fifo", "folder"):
        with pytest.raises(WrongKind), refusals():
            read(tree, path)


def test_existing_file_is_replaced_only_with_its_current_tag(tree: Tree) -> None:
    tag = tree.entry(parts_of("folder/file")).etag
    name = stage(tree, b"newer")
    with tree.in_area("staging") as folder:
        tree.place(folder, name, parts_of("folder/file"), replace=True, etag=tag)
    assert read(tree, "folder/file") == b"newer"
    name = stage(tree, b"newest")
    with tree.in_area("staging") as folder, pytest.raises(Stale):
        tree.place(folder, name, parts_of("folder/file"), replace=True, etag=tag)
    assert read(tree, "folder/file") == b"newer"


def test_new_name_is_stored_in_composed_form_and_an_old_one_is_found_as_it_is(tree: Tree) -> None:
    write(tree, "cafe\u0301", b"x")
    assert (home_of(tree) / "caf\u00e9").exists()
    (home_of(tree) / "noe\u0308l").write_bytes(b"from a shell")
    assert read(tree, "noe\u0308l") == b"from a shell"


def test_file_sent_with_a_decomposed_path_replaces_the_one_stored_for_it(tree: Tree) -> None:
    sent = parts_of("cafe\u0301/noe\u0308l")
    tree.make_folders(sent[:-1])
    with tree.in_area("staging") as folder:
        tree.place(folder, stage(tree, b"old"), sent, replace=False)
        with pytest.raises(FileExistsError):
            tree.place(folder, stage(tree, b"newer"), sent, replace=False)
        placed = tree.place(folder, stage(tree, b"new"), sent, replace=True, etag=tree.entry(sent).etag)
    assert placed.path == "caf\u00e9/no\u00ebl"
    assert read(tree, "cafe\u0301/noe\u0308l") == read(tree, placed.path) == b"new"
    assert tree.stored(parts_of("cafe\u0301/new/e\u0301")) == ("caf\u00e9", "new", "\u00e9")
    (home_of(tree) / "cafe\u0301").mkdir()
    assert tree.stored(sent) == ("cafe\u0301", "no\u00ebl")


def test_name_that_is_not_utf8_is_listed_as_inexact(tree: Tree) -> None:
    Path(os.fsdecode(os.fsencode(home_of(tree)) + b"/\xff\xfe")).write_bytes(b"x")
    named = {one.name: one.is_exact for one in list_folder(tree, (), None, 10, hidden=False)[0]}
    assert named == {"folder": True, "\ufffd\ufffd": False}


def test_pages_of_a_folder_have_every_name_once(tree: Tree) -> None:
    for number in range(25):
        (home_of(tree) / f"{number:02}").touch()
    (home_of(tree) / ".hidden").touch()
    seen, after = [], None
    while True:
        entries, after = list_folder(tree, (), after, 7, hidden=False)
        seen += [one.name for one in entries]
        if after is None:
            break
    assert seen == [*(f"{number:02}" for number in range(25)), "folder"]


def test_folder_cannot_be_moved_into_itself_or_over_something(tree: Tree) -> None:
    with pytest.raises(IntoItself):
        tree.move(("folder",), ("folder", "below", "folder"))
    (home_of(tree) / "other").mkdir()
    with pytest.raises(Exists), refusals():
        tree.move(("other",), ("folder",))


def test_copy_keeps_links_as_links_and_stops_at_the_budget(tree: Tree) -> None:
    (home_of(tree) / "folder/link").symlink_to("/etc/passwd")
    (home_of(tree) / "folder/large").write_bytes(bytes(300_000))
    with tree.in_area("staging") as staging:
        tree.put_back(staging, copy(tree, ("folder",), staging, Budget(1 << 20, 10)), ("copy",))
        for budget in (Budget(100_000, 10), Budget(1 << 20, 3)):
            with pytest.raises(HomeFull):
                copy(tree, ("folder",), staging, budget)
        assert os.listdir(staging) == []  # noqa: PTH208 - a descriptor
    assert (home_of(tree) / "copy/link").readlink() == Path("/etc/passwd")
    assert (home_of(tree) / "copy/file").read_bytes() == b"content"


def test_copy_of_a_sparse_file_counts_the_zeros_that_it_writes(tree: Tree) -> None:
    with (home_of(tree) / "sparse").open("wb") as file:
        file.truncate(50 << 20)
    with tree.in_area("staging") as staging, pytest.raises(HomeFull):
        copy(tree, ("sparse",), staging, Budget(1 << 20, 10))
    with tree.in_area("staging") as staging:
        copied = copy(tree, ("sparse",), staging, budget := Budget(60 << 20, 10))
        assert os.stat(copied, dir_fd=staging).st_size == 50 << 20
    assert budget.bytes <= 10 << 20


def test_list_and_archive_of_very_long_paths_are_cut_off(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        (home_of(tree) / f"folder/{number:0100d}").write_text("")
    monkeypatch.setattr(walks, "PATH_CHARACTERS_MAX", 1_000)
    monkeypatch.setattr(archive, "PATH_CHARACTERS_MAX", 1_000)

    entries, is_cut = list_all(tree, ("folder",), 1_000, hidden=True)
    assert (0 < len(entries) < 20, is_cut) == (True, True)
    with zipfile.ZipFile(io.BytesIO(b"".join(zip_pieces(tree, ("folder",))))) as made:
        names = made.namelist()
        assert 1 < len(names) < 20
        assert b"everything after this" in made.read(names[-1])


def make_deep(home: Path, depth: int) -> None:
    held = os.open(home, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=held)
        below = os.open("d", os.O_RDONLY, dir_fd=held)
        os.close(held)
        held = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=held))
    os.close(held)


def test_folders_deeper_than_any_path_are_measured_and_removed(tree: Tree) -> None:
    depth = 3 * DEPTH_MAX
    make_deep(home_of(tree), depth)
    meter = Meter(10_000)
    with tree.folder(()) as folder:
        meter.add(folder)
    assert meter.entries == depth + 1 + 3
    with tree.in_area("gone") as gone:
        tree.take_out(("d",), gone, "deep")
        remove(gone, "deep")
        assert os.listdir(gone) == []  # noqa: PTH208


def test_hard_links_count_once_and_a_full_count_stops_early(tree: Tree) -> None:
    (home_of(tree) / "large").write_bytes(bytes(1 << 20))
    for number in range(5):
        os.link(home_of(tree) / "large", home_of(tree) / f"link{number}")
    meter, small = Meter(1000), Meter(2)
    with tree.folder(()) as folder:
        meter.add(folder)
        small.add(folder)
    assert 1 << 20 <= meter.bytes < 2 << 20
    assert small.entries == 3


def test_zip_has_files_and_folders_but_follows_no_link(tree: Tree) -> None:
    home = home_of(tree)
    (home / "link").symlink_to("../outside/secret")
    (home / "folder/日本\\x").write_bytes(bytes(range(256)) * 4000)
    data = b"".join(zip_pieces(tree, ()))
    with zipfile.ZipFile(io.BytesIO(data)) as made:
        assert made.testzip() is None
        assert sorted(made.namelist()) == ["folder/", "folder/below/", "folder/file", "folder/日本_x"]
        assert made.read("folder/日本_x") == bytes(range(256)) * 4000
    assert SECRET not in data


def test_unreadable_file_is_refused_and_named_in_the_zip(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_arguments: object) -> Iterator[bytes]:
        raise PermissionError(errno.EACCES, "denied")  # root can read everything

    monkeypatch.setattr(archive, "_add_file", deny)
    with zipfile.ZipFile(io.BytesIO(b"".join(zip_pieces(tree, ())))) as made:
        assert "folder/file" in made.read("NOT-INCLUDED.txt").decode()
    with pytest.raises(NotPermitted), refusals():
        deny()


@pytest.mark.parametrize(
    "seconds", [0.5, pytest.param(10.0, marks=pytest.mark.prove)], ids=["short", "ten seconds"]
)
def test_folder_constantly_exchanged_with_a_link_leaks_nothing(tree: Tree, seconds: float) -> None:
    """A shell exchanges a folder with a link to the outside while every operation is repeated."""
    home = home_of(tree)
    (home / "folder/secret").write_bytes(b"own")
    (home / "evil").symlink_to("../outside")
    is_over = threading.Event()

    def exchange() -> None:
        names = [ctypes.c_char_p(os.fsencode(home / name)) for name in ("folder", "evil")]
        while not is_over.is_set():
            beneath._syscall(beneath._SYS_RENAMEAT2, AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE)

    attacker = threading.Thread(target=exchange)
    attacker.start()
    counts = {"good": 0, "refused": 0}
    tries: list[Callable[[], object]] = [
        lambda: read(tree, "folder/secret") == b"own",
        lambda: all(
            one.size != len(SECRET)
            for one in list_folder(tree, ("folder",), None, 9, hidden=True)[0]
            if one.name == "secret"
        ),
        lambda: tree.entry(("folder", "secret")).size == len(b"own"),
        lambda: SECRET not in b"".join(zip_pieces(tree, ("folder",))),
        lambda: tree.make_folders(("folder", "made")) == ("folder", "made"),
        lambda: write(tree, "folder/secret", b"own", replace=True),
    ]
    try:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for one in tries:
                try:
                    with refusals():
                        assert one(), "something outside was visible"
                    counts["good"] += 1
                except (NotFound, WrongKind, Changing):
                    counts["refused"] += 1
    finally:
        is_over.set()
        attacker.join()
    outside = home.parent / "outside"
    assert (outside / "secret").read_bytes() == SECRET
    assert [one.name for one in outside.iterdir()] == ["secret"]
    assert counts["good"] > 0, counts
    print(f"rename race: {counts}")
