"""Puts a backup back: everything is unpacked and checked beside its place first, then moved into it."""

import os
import shutil
import socket
import tarfile
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psycopg
from sqlalchemy.engine import make_url

from gatehouse import programs
from gatehouse.backup import NotDone, broker, databases, parts, sealing
from gatehouse.backup.archive import read
from gatehouse.backup.parts import RESTORED_SECRETS, Part
from gatehouse.backup.places import Openable, in_order, sync
from gatehouse.backup.sealing import Secrets
from gatehouse.backup.taking import FOLDERS, ROUTES, SECRETS, Say
from shared.clock import now
from shared.data.migrate import newest
from shared.process.stored import StoredBucket

UNPACKED = ".restoring"  # ends the names of what is not yet in its place


@dataclass(slots=True)
class Plan:
    """What is put where."""

    manifest: dict[str, Any]
    parts: dict[str, Part]
    secrets_folder: Path
    passphrase: str | None
    data_dir: Path
    replaced: Path
    """The folder to which everything that is replaced is moved."""
    is_whole: bool
    dumps: dict[str, Path] = field(default_factory=dict)
    secrets: Secrets | None = None
    routes: Path | None = None

    @property
    def restores_secrets(self) -> bool:
        """Whether the suite's own secrets are replaced: other services may need the present ones."""
        return self.secrets is not None and self.is_whole

    @property
    def contents(self) -> dict[str, StoredBucket]:
        """The buckets that get content of the backup. This content may have come from a folder."""
        held = {*self.manifest["folders"], *self.manifest.get("buckets", ())}
        stored = (one for part in self.parts.values() for one in part.buckets)
        return {one.name: one for one in stored if one.name in held}

    @property
    def folders(self) -> dict[str, Path]:
        return {stored.name: stored.path for part in self.parts.values() for stored in part.folders}


def restore(
    root: Path, place: Openable, *, chosen: Collection[str], replace: bool, passphrase: str | None, say: Say
) -> dict[str, Any]:
    """Restore a whole backup, or some of its services; return its manifest."""
    data_dir = parts.data_dir(root)
    with in_order(data_dir, restores=True), read(place) as (manifest, members):
        plan = Plan(
            manifest,
            _parts(root, manifest, chosen),
            parts.secrets_folder(root),
            passphrase,
            data_dir,
            data_dir / f"replaced-{now():%Y-%m-%dT%H-%M-%SZ}",
            is_whole=not chosen,
        )
        _refuse_running(root, plan)
        if not replace:
            _refuse_occupied(plan)
        _clear(plan)
        try:
            _unpack_all(plan, members)
            _check(plan)
            if plan.contents:
                from gatehouse.backup.refilling import refill  # imported late: boto3 is large

                refill(place, plan.contents, plan.replaced.name, say)
            _put_in_place(plan, say)
        finally:
            _clear(plan)
    return manifest


def _unpack_all(plan: Plan, members: Iterable[tuple[tarfile.TarInfo, IO[bytes] | None]]) -> None:
    try:
        for member, content in members:
            _unpack(plan, member, content)
    except OSError as error:
        raise NotDone(f"the backup cannot be unpacked: {error.strerror}. Nothing was changed.") from None


def _parts(root: Path, manifest: dict[str, Any], chosen: Collection[str]) -> dict[str, Part]:
    """Return the parts to restore, or raise NotDone if one of them does not fit this suite."""
    known = {part.name: part for part in parts.of_suite(root, chosen)}
    for name in chosen or manifest["services"]:
        if name not in known or name not in manifest["services"]:
            raise NotDone(f"the backup and this suite do not both have {name}; nothing was changed")
    found = {name: known[name] for name in chosen or manifest["services"]}
    for name, part in found.items():
        about = manifest["services"][name]
        kind = make_url(part.url).get_backend_name()
        if about["kind"] != kind:
            raise NotDone(
                f"{name} was backed up from {about['kind']}, but is configured for {kind}; "
                f"set {name.upper()}_DATABASE_URL to a {about['kind']} database. Nothing was changed."
            )
        if int(about["version"]) > int(newest(part.migrations) or 0):
            raise NotDone(
                f"the backup was made by version {manifest['version']}, whose {name} database is newer than "
                "this program; restore it with that version. Nothing was changed."
            )
    return found


def _refuse_running(root: Path, plan: Plan) -> None:
    for program in programs.load(root, os.environ):
        if program.name in plan.parts:
            with suppress(OSError):
                socket.create_connection((program.settings.host, program.settings.port), 1.0).close()
                raise NotDone(
                    f"a program answers on the port of {program.name} ({program.settings.port}); "
                    "stop the suite first. Nothing was changed."
                )
    for name, part in plan.parts.items():
        if plan.manifest["services"][name]["kind"] == "postgresql":
            users = _asked(databases.users_of, part.url)
            if users:
                raise NotDone(
                    f"{users} connections to the database of {name} are open; stop the suite first. "
                    "Nothing was changed."
                )


def _refuse_occupied(plan: Plan) -> None:
    for name, part in plan.parts.items():
        file = _sqlite_file(part)
        there = file.exists() and file.stat().st_size if file else not _asked(databases.is_empty, part.url)
        if there:
            raise NotDone(f"{name} has data already; with --replace it is moved aside. Nothing was changed.")
    for bucket in plan.contents.values():
        from gatehouse.backup.contents import BucketContent

        if not BucketContent(bucket).is_empty():
            raise NotDone(
                f"{bucket.place} has objects already; with --replace they stay in the bucket, below "
                "replaced-TIME. Nothing was changed."
            )
    for name, folder in plan.folders.items():
        if folder.is_dir() and any(
            entry.is_file(follow_symlinks=False) for _, entry in parts.walk(folder, lambda _: None)
        ):
            raise NotDone(
                f"{folder} has files already; with --replace the folder {name} is moved aside, not deleted. "
                "Nothing was changed."
            )


def _asked(question: Any, url: str) -> Any:
    try:
        return question(url)
    except psycopg.OperationalError as error:
        place = make_url(url).render_as_string(hide_password=True)
        raise NotDone(f"{place}: {str(error).strip()}. Nothing was changed.") from None


def _unpack(plan: Plan, member: tarfile.TarInfo, content: IO[bytes] | None) -> None:
    """Write a member beside its place."""
    top, _, rest = member.name.partition("/")
    if member.name == SECRETS and content is not None and plan.passphrase:
        plan.secrets = sealing.unseal(plan.passphrase, plan.manifest["id"], content.read())
    elif member.name == ROUTES and content is not None:
        plan.routes = _draft(plan.data_dir / ROUTES)
        _write(plan.routes, content, 0o644)
    elif top == "databases" and content is not None:
        name = rest.partition(".")[0]
        if name in plan.parts:
            _unpack_database(plan, name, content)
    elif top == FOLDERS:
        name, _, relative = rest.partition("/")
        if name in plan.folders:
            _unpack_into(_draft(plan.folders[name]), relative, member, content)


def _unpack_database(plan: Plan, name: str, content: IO[bytes]) -> None:
    file = _sqlite_file(plan.parts[name])
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        databases.unpack_sqlite(content, _draft(file))
    else:
        plan.dumps[name] = plan.data_dir / f"{name}.pgdump{UNPACKED}"
        _write(plan.dumps[name], content, 0o600)


def _unpack_into(folder: Path, relative: str, member: tarfile.TarInfo, content: IO[bytes] | None) -> None:
    """Write a file, folder or link. No component of a path may lead out of the folder."""
    steps = relative.split("/")
    if any(step in ("", ".", "..") for step in steps):
        raise NotDone(f"the backup is damaged: {member.name!r} is not a valid path; nothing was changed")
    place = folder.joinpath(*steps)
    folder.mkdir(exist_ok=True, parents=True, mode=0o700)
    if place.parent.resolve() != folder.resolve().joinpath(*steps[:-1]):
        raise NotDone(f"the backup is damaged: {member.name!r} leads over a link; nothing was changed")
    if member.issym():
        place.symlink_to(member.linkname)
    elif member.isdir():
        place.mkdir(mode=member.mode & 0o777 | 0o700)
    elif content is not None:
        _write(place, content, member.mode & 0o777)
    else:
        raise NotDone(f"the backup is damaged: {member.name!r} is of an unknown kind; nothing was changed")
    if os.geteuid() == 0:  # homes belong to the users of containers
        os.chown(place, member.uid, member.gid, follow_symlinks=False)
    if not member.issym():
        os.utime(place, (member.mtime, member.mtime))


def _write(place: Path, content: IO[bytes], mode: int) -> None:
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        shutil.copyfileobj(content, file, 1 << 20)
        os.fchmod(file.fileno(), mode)


def _check(plan: Plan) -> None:
    """Compare what was unpacked with the manifest, before anything is moved."""
    for name, part in plan.parts.items():
        about, file = plan.manifest["services"][name], _sqlite_file(part)
        if file is None:
            if name not in plan.dumps:
                raise NotDone(f"the backup is damaged: it has no database of {name}; nothing was changed")
            continue
        draft = _draft(file)
        found = databases.inspect_sqlite(draft) if draft.exists() else {}
        if found.get("rows") != about["rows"]:
            raise NotDone(
                f"the backup is damaged: its manifest lists other rows of {name}; nothing was changed"
            )
    for name, part in plan.parts.items():
        is_restored = plan.restores_secrets and not part.is_secret_given
        if not is_restored and part.fingerprint(plan.manifest["id"]) != plan.manifest["secrets"][name]:
            raise NotDone(
                f"{name} has another KEY_SECRET here than in the backup, so nobody could read what the old "
                "one sealed. Set KEY_SECRET to the old value, or set BACKUP_PASSPHRASE. Nothing was changed."
            )


def _put_in_place(plan: Plan, say: Say) -> None:
    """Move everything into its place. What was there is kept in the folder `replaced`."""
    for name, dump in plan.dumps.items():
        _load(plan, name, dump)
        say(f"{name}: {_rows(plan, name):,} rows")
    for name, part in plan.parts.items():
        file = _sqlite_file(part)
        if file is not None:
            databases.reset_outbox(_draft(file))
            for old in (file, Path(f"{file}-wal"), Path(f"{file}-shm")):
                _move_aside(plan, old)
            _draft(file).rename(file)
            sync(file.parent)
            say(f"{name}: {_rows(plan, name):,} rows")
    for name, folder in plan.folders.items():
        if _draft(folder).exists():
            _move_aside(plan, folder)
            _draft(folder).rename(folder)
            sync(folder.parent)
            say(f"{name}: restored")
    _put_secrets(plan, say)
    for url in {part.redis_url for part in plan.parts.values() if part.redis_url}:
        error = broker.forget_events(url)
        if error is not None:
            say(error)
    if plan.routes is not None:
        say(f"the routes file of the backup is {_named(plan.routes)}; compare it with yours")


def _load(plan: Plan, name: str, dump: Path) -> None:
    url = plan.parts[name].url
    if not databases.is_empty(url):
        plan.replaced.mkdir(exist_ok=True, mode=0o700)
        databases.dump_postgresql(url, plan.replaced / f"{name}.pgdump")
    databases.load_postgresql(url, dump)
    found = databases.inspect_postgresql(url)
    if found["rows"] != plan.manifest["services"][name]["rows"]:
        raise NotDone(f"{name}: its rows differ from those in the manifest of the backup")
    databases.reset_outbox(url)


def _put_secrets(plan: Plan, say: Say) -> None:
    """Write the files from which development reads its secrets, and one with all variables for production."""
    if plan.secrets is None:
        return
    plan.secrets_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lines = [f"{name}={value}\n" for name, value in sorted(plan.secrets["variables"].items())]
    files = plan.secrets["files"] if plan.restores_secrets else {}
    for name, text in (*files.items(), (RESTORED_SECRETS, "".join(lines))):
        file = plan.secrets_folder / Path(name).name
        _move_aside(plan, file)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(text)
    place = plan.secrets_folder / RESTORED_SECRETS
    say(f"the secrets are in {place}; in production, set them where the suite gets its environment from")


def _move_aside(plan: Plan, place: Path) -> None:
    if place.exists():
        inside = place.is_relative_to(plan.data_dir)
        kept = plan.replaced / place.relative_to(plan.data_dir if inside else place.anchor)
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.move(place, kept)


def _clear(plan: Plan) -> None:
    """Remove drafts, including those that a killed restore left behind."""
    places = [file for part in plan.parts.values() if (file := _sqlite_file(part))]
    for place in (*places, *plan.folders.values(), plan.data_dir / ROUTES):
        draft = _draft(place)
        if draft.is_dir() and not draft.is_symlink():
            shutil.rmtree(draft)
        else:
            draft.unlink(missing_ok=True)
    for dump in plan.data_dir.glob(f"*.pgdump{UNPACKED}"):
        dump.unlink()


def _draft(place: Path) -> Path:
    return place.with_name(place.name + UNPACKED)


def _named(draft: Path) -> Path:
    """Give the routes file of the backup a name that stays."""
    return draft.rename(draft.with_name(f"routes-of-backup-{int(time.time())}.yaml"))


def _rows(plan: Plan, name: str) -> int:
    return sum(plan.manifest["services"][name]["rows"].values())


def _sqlite_file(part: Part) -> Path | None:
    parsed = make_url(part.url)
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database
    return Path(str(parsed.database)).absolute() if is_file else None
