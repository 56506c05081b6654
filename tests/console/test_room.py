"""Rules for the console's source: layers, sizes, vendored modules, types, and the paths that it calls."""

import base64
import gzip
import hashlib
import io
import re
import subprocess
import tarfile
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from gatehouse import vendor
from gateway.site.console import _without_comments
from tests import support

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "gateway" / "console"
# Lowest first. A module imports from its own layer and from lower ones; `app.js` is above all of them.
LAYERS = ("vendor", "core", "parts", "pages", "app.js")
LINES_MAX = 300
SCREEN_BYTES_MAX = 15_000  # of what only this screen loads, compressed
OWN = sorted(
    file
    for file in FOLDER.rglob("*")
    if file.suffix in (".js", ".css", ".html") and "vendor" not in file.parts
)
# The only module that may load each vendored file.
DOORS = {"vendor/modules.js": "core/view.js", "vendor/xterm.js": "pages/terminals_screen.js"}
IMPORT = re.compile(r"""(?:from|import\()\s*"([^"]+)"|^import "([^"]+)";""", re.MULTILINE)
# Places where a text could become code.
DANGEROUS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|dangerouslySetInnerHTML|document\.write|\beval\(|new Function"
)


def layer_of(path: str) -> int:
    return LAYERS.index(path.split("/", maxsplit=1)[0])


def module_faults(path: str, source: str) -> Iterator[str]:
    """Yield what is wrong with the imports of one module."""
    folder = path.rpartition("/")[0]
    for found in IMPORT.finditer(source):
        name = found[1] or found[2]
        if not name.startswith("."):
            yield f"{path} imports {name}, which would need an import map"
            continue
        parts = [part for part in f"{folder}/{name}".split("/") if part not in ("", ".")]
        while ".." in parts:
            at = parts.index("..")
            del parts[at - 1 : at + 1]
        target = "/".join(parts)
        if layer_of(target) > layer_of(path):
            yield f"{path} imports {target}, which is above it"
        if target.startswith("vendor/") and path != DOORS.get(target):
            yield f"{path} imports {target}; only {DOORS.get(target)} may"
        if path.startswith("pages/") and target.startswith("pages/") and not _is_own(path, target):
            yield f"{path} imports {target}, which belongs to another page"


def _is_own(page: str, target: str) -> bool:
    """Whether a module belongs to a page: `orders.js` and `order_drawer.js` share their first word."""
    first, second = (Path(one).stem.split("_")[0] for one in (page, target))
    return first.rstrip("s") == second.rstrip("s")


def source_faults(files: Mapping[str, str]) -> list[str]:
    faults = []
    for path, source in files.items():
        if source.count("\n") > LINES_MAX:
            faults.append(f"{path} has {source.count(chr(10))} lines")
        if path.endswith(".js") and path != "theme.js":
            faults += module_faults(path, source)
        if path.endswith(".js") and not source.startswith("// @ts-check") and path != "theme.js":
            faults.append(f"{path} does not begin with // @ts-check")
        faults += [f"{path} uses {found[0]}" for found in DANGEROUS.finditer(source)]
    return faults


def test_modules_keep_to_layers_sizes_and_safe_functions() -> None:
    files = {file.relative_to(FOLDER).as_posix(): file.read_text() for file in OWN}

    assert len(files) > 20
    assert source_faults(files) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("core/api.js", 'import { x } from "../parts/ui.js";'),
        ("parts/ui.js", 'const x = () => import("../pages/orders.js");'),
        ("parts/ui.js", 'import { h } from "../vendor/modules.js";'),
        ("pages/orders.js", 'const x = () => import("../vendor/xterm.js");'),
        ("pages/orders.js", 'import { x } from "./users.js";'),
        ("pages/orders.js", 'import { x } from "preact";'),
        ("pages/orders.js", "element.innerHTML = name;"),
        ("pages/orders.js", "\n" * 301),
    ],
)
def test_fault_in_a_module_is_found(path: str, source: str) -> None:
    assert len(source_faults({path: f"// @ts-check\n{source}"})) == 1


def test_each_screen_is_small() -> None:
    sizes: dict[str, int] = defaultdict(int)
    for file in OWN:
        if file.parent.name == "pages":
            screen = file.stem.split("_")[0].rstrip("s")
            sizes[screen] += len(gzip.compress(_without_comments(file), 9))

    assert {"order", "file", "ticket", "terminal"} <= set(sizes)
    assert {screen: size for screen, size in sizes.items() if size > SCREEN_BYTES_MAX} == {}


def test_vendored_files_are_those_that_were_fetched() -> None:
    folder = FOLDER / "vendor"
    assert vendor.sums_of(folder) == (folder / vendor.SUMS).read_text()
    assert {file.name for file in folder.iterdir()} == {
        vendor.LIST,
        vendor.SUMS,
        vendor.LICENCES,
        vendor.JOINED,
        "xterm.js",
        "xterm.css",
    }
    packages = tomllib.loads((folder / vendor.LIST).read_text())
    licences = (folder / vendor.LICENCES).read_text()
    assert [
        name
        for name, one in packages.items()
        if f"{name} {one['version']} ({one['licence']})" not in licences
    ] == []


def archive(**files: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as opened:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(text.encode())
            opened.addfile(entry, io.BytesIO(text.encode()))
    return made.getvalue()


def test_archive_with_another_hash_is_refused() -> None:
    content = archive(LICENSE="free")
    with pytest.raises(vendor.VendorFault, match="expects sha512-x"):
        vendor.unpacked(content, "sha512-x", "left-pad")
    found = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()

    assert vendor.unpacked(content, found, "left-pad") == {"LICENSE": "free"}


def test_modules_become_functions_that_take_each_other() -> None:
    one = vendor.as_function("function a(){}export{a as first,b};//# sourceMappingURL=a.map", "one", {})
    two = vendor.as_function(
        'import{first as f}from"one";export{b}from"one";export{x};', "two", {"one": "one", "two": "two"}
    )
    three = vendor.as_function("export default function(s){}", "three", {})

    assert one == "const one = (() => {\nfunction a(){}\nreturn { first: a, b: b };\n})();"
    assert two == "const two = (() => {\nconst{first:f}=one;\nreturn { b: one.b, x: x };\n})();"
    assert three == "const three = (() => {\nconst _default = function(s){}\nreturn _default;\n})();"
    for unknown in (
        'import{a}from"other";',
        'import a from"one";',
        "export const a = 1;",
        "export*from'one'",
    ):
        with pytest.raises(vendor.VendorFault):
            vendor.as_function(unknown, "it", {"one": "one"})


def test_text_that_is_to_be_replaced_must_be_there() -> None:
    assert vendor.replaced("a.b a.b", {"a.": "c."}, "a.js") == "c.b c.b"
    with pytest.raises(vendor.VendorFault, match=r"a\.js does not contain z"):
        vendor.replaced("a.b", {"z": "y"}, "a.js")


def test_terminal_writes_no_style_that_the_policy_refuses() -> None:
    source = (FOLDER / "vendor" / "xterm.js").read_text()

    assert 'createElement("style")' not in source
    assert 'setAttribute("style"' not in source
    assert not DANGEROUS.search(source)


@pytest.mark.prove
def test_types_are_right(tmp_path: Path) -> None:
    node = support.install_from_npm(tmp_path, "typescript@7.0.2")
    compiler = tmp_path / "node_modules" / "typescript" / "bin" / "tsc"
    done = subprocess.run(
        [node, str(compiler), "-p", str(FOLDER / "jsconfig.json")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == ""
    assert done.returncode == 0, done.stderr
