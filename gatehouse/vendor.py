"""Fetches the modules that the console loads, and joins them into one: `make vendor`. It needs npm.

    python -m gatehouse.vendor FOLDER

FOLDER holds `packages.toml`, which pins every package by the hash of its archive. The modules become
functions in one file, `modules.js`, each with its own scope: one request instead of five. A package with
`into` goes to a file of its own, which only the screen that needs it loads. `replace` changes texts that the
policy of the page would refuse, and `sheets` are copied. `SHA256SUMS` is written beside it, so that a test
checks the files without network.
"""

import base64
import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

LIST, SUMS, LICENCES, JOINED = "packages.toml", "SHA256SUMS", "LICENCES", "modules.js"
_FROM = r"""\s*["'](?P<name>[@\w][\w@/.-]*)["'];?"""
IMPORT = re.compile(r"import\s*{(?P<what>[^}]*)}\s*from" + _FROM)
PASSED_ON = re.compile(r"export\s*{(?P<what>[^}]*)}\s*from" + _FROM)
EXPORT = re.compile(r"export\s*{(?P<what>[^}]*)};?")
DEFAULT = re.compile(r"export\s+default\s+")
SOURCE_MAP = re.compile(r"//# sourceMappingURL=\S+\s*$")
LEFT_OVER = re.compile(r"\b(?:import|export)\b\s*[\w{*\"']")


class VendorFault(Exception):
    """An archive or a file is not as packages.toml says."""


def fetch(folder: Path) -> None:
    """Write the modules, their licences and their hashes into the folder."""
    packages = tomllib.loads((folder / LIST).read_text())
    licences, addresses = [], {}
    modules: dict[str, dict[str, str]] = defaultdict(dict)  # by file, then by constant
    for name, package in packages.items():
        files = unpacked(packed(name, package["version"]), package["integrity"], name)
        for source, variable in package["files"].items():
            # The first file is what the bare name of the package means.
            address = f"{name}/{source.split('/')[0]}" if name in addresses else name
            addresses[address] = variable
            text = replaced(files[source], package.get("replace", {}), source)
            modules[package.get("into", JOINED)][variable] = as_function(text, variable, addresses)
        for source, sheet in package.get("sheets", {}).items():
            (folder / sheet).write_text(files[source])
        own = next(text for path, text in files.items() if path.upper().startswith("LICEN"))
        licences.append(f"{name} {package['version']} ({package['licence']})\n\n{own.strip()}\n")
    for file, functions in modules.items():
        joined = "".join(f"{module}\n" for module in ["// @ts-nocheck", *functions.values()])
        (folder / file).write_text(f"{joined}export {{ {', '.join(functions)} }};\n")
    (folder / LICENCES).write_text(f"\n{'-' * 80}\n\n".join(licences))
    (folder / SUMS).write_text(sums_of(folder))


def replaced(text: str, changes: Mapping[str, str], source: str) -> str:
    """Return a module with some of its texts replaced; each must be there."""
    for old, new in changes.items():
        if old not in text:
            raise VendorFault(f"{source} does not contain {old}, which {LIST} replaces.")
        text = text.replace(old, new)
    return text


def packed(name: str, version: str) -> bytes:
    """Return the archive of a package, as npm downloads it."""
    with tempfile.TemporaryDirectory() as place:
        command = ["npm", "pack", "--silent", "--pack-destination", place, f"{name}@{version}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - pinned names
        (archive,) = Path(place).glob("*.tgz")
        return archive.read_bytes()


def unpacked(archive: bytes, integrity: str, name: str) -> dict[str, str]:
    """Return the text files of an archive, after checking its hash."""
    found = "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if found != integrity:
        raise VendorFault(f"{name}: the archive has the hash {found}, but {LIST} expects {integrity}.")
    texts = {}
    with tempfile.NamedTemporaryFile(suffix=".tgz") as file:
        file.write(archive)
        file.flush()
        with tarfile.open(file.name) as opened:
            for member in opened.getmembers():
                content = opened.extractfile(member) if member.isfile() else None
                if content is not None and Path(member.name).suffix in ("", ".mjs", ".js", ".css", ".md"):
                    texts[member.name.partition("/")[2]] = content.read().decode()
    return texts


def as_function(text: str, variable: str, addresses: dict[str, str]) -> str:
    """Return a module as a constant: what it exports, made in a scope of its own."""

    def source(match: re.Match[str]) -> str:
        if match["name"] not in addresses:
            raise VendorFault(f"{match['name']} is imported, but {LIST} does not list it before.")
        return addresses[match["name"]]

    exported: list[str] = []

    def pass_on(match: re.Match[str]) -> str:
        exported.extend(f"{theirs}: {source(match)}.{ours}" for ours, theirs in _names(match["what"]))
        return ""

    def export(match: re.Match[str]) -> str:
        exported.extend(f"{theirs}: {ours}" for ours, theirs in _names(match["what"]))
        return ""

    def take(match: re.Match[str]) -> str:
        names = ",".join(f"{theirs}:{ours}" for theirs, ours in _names(match["what"]))
        return f"const{{{names}}}={source(match)};"

    # Each module is one long line, so this removes only the comment at its end.
    text = SOURCE_MAP.sub("", text).strip()
    text = EXPORT.sub(export, PASSED_ON.sub(pass_on, IMPORT.sub(take, text)))
    text, defaults = DEFAULT.subn("const _default = ", text)
    if LEFT_OVER.search(text):
        raise VendorFault(f"{variable} has an import or export that this script does not understand.")
    result = "_default" if defaults else f"{{ {', '.join(exported)} }}"
    return f"const {variable} = (() => {{\n{text}\nreturn {result};\n}})();"


def _names(listed: str) -> list[tuple[str, str]]:
    """Return the pairs of `a as b, c`: (a, b), (c, c)."""
    pairs = (part.split(" as ") for part in listed.split(","))
    return [(pair[0].strip(), pair[-1].strip()) for pair in pairs]


def sums_of(folder: Path) -> str:
    """Return the hash of every file in the folder, as `sha256sum --check` reads them."""
    files = sorted(file for file in folder.iterdir() if file.name not in (SUMS, LIST))
    return "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
