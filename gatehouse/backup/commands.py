"""`gatehouse backup` and `gatehouse restore`."""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from gatehouse.backup import NotDone

ROOT = Path(__file__).resolve().parent.parent.parent
PASSPHRASE = "BACKUP_PASSPHRASE"  # noqa: S105 - the name of a variable


def backup(arguments: argparse.Namespace) -> int:
    """Write all data of the suite to one file, while it runs; or verify such a file."""
    from gatehouse.backup import retention, taking, verifying

    try:
        if arguments.verify:
            verifying.verify(ROOT, arguments.verify, passphrase=_passphrase(), say=_say)
            sys.stdout.write(f"{arguments.verify}: complete, and it can be restored\n")
            return 0
        keep = retention.parsed(arguments.keep)
        if keep and arguments.service:
            raise NotDone("--keep counts backups of all services: leave out --service")  # noqa: TRY301
        taken = taking.take(
            ROOT,
            arguments.to,
            chosen=arguments.service,
            passphrase=_passphrase_or_consent(arguments),
            routes=Path(os.environ.get("ROUTES_FILE") or ROOT / "routes.yaml"),
            say=_say,
        )
        removed = retention.remove(arguments.to, keep) if keep else []
    except NotDone as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if arguments.json:
        told = asdict(taken) | {"path": str(taken.path), "removed": [str(path) for path in removed]}
        sys.stdout.write(f"{json.dumps(told)}\n")
    else:
        sys.stdout.write("".join(f"removed {path}\n" for path in removed))
        sys.stdout.write(f"wrote {taken.path}: {taken.size / 1e6:,.1f} MB in {taken.seconds:.1f} s\n")
    return 0


def restore(arguments: argparse.Namespace) -> int:
    """Restore a backup, whole or some services of it; the suite must be stopped."""
    from gatehouse.backup import restoring

    try:
        manifest = restoring.restore(
            ROOT,
            arguments.file,
            chosen=arguments.service,
            replace=arguments.replace,
            passphrase=_passphrase(),
            say=_say,
        )
    except NotDone as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"restored the backup of {manifest['created']}\n")
    for place in manifest["elsewhere"]:
        sys.stdout.write(f"not part of the backup: {place}\n")
    return 0


def describe_backup(parser: argparse.ArgumentParser) -> None:
    default = Path(os.environ.get("BACKUP_DIR") or "backups")
    parser.add_argument("--to", type=Path, default=default, help="the folder to write to (BACKUP_DIR)")
    parser.add_argument(
        "--keep",
        default="",
        help="which backups to keep, for example 7d,4w,6m; the others are removed",
    )
    _services(parser)
    parser.add_argument(
        "--without-secrets",
        action="store_true",
        help="leave the secrets out if BACKUP_PASSPHRASE is not set",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--verify",
        type=Path,
        metavar="FILE",
        help="restore this backup to a scratch folder, start and read it",
    )


def describe_restore(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="the backup")
    _services(parser)
    parser.add_argument(
        "--replace", action="store_true", help="move existing data aside, into DATA_DIR/replaced-TIME"
    )


def _services(parser: argparse.ArgumentParser) -> None:
    text = "only this service; may be repeated"
    parser.add_argument("--service", action="append", default=[], metavar="NAME", help=text)


def _passphrase_or_consent(arguments: argparse.Namespace) -> str | None:
    passphrase = None if arguments.without_secrets else _passphrase()
    if passphrase is None and not arguments.without_secrets:
        raise NotDone(
            f"set {PASSPHRASE} (or {PASSPHRASE}_FILE) to seal the suite's secrets in the backup, or choose "
            "--without-secrets if you keep them elsewhere: without them nobody can read it"
        )
    return passphrase


def _passphrase() -> str | None:
    from gatehouse.backup.sealing import PASSPHRASE_CHARACTERS_MIN

    file = os.environ.get(f"{PASSPHRASE}_FILE")
    try:
        passphrase = Path(file).read_text().strip() if file else os.environ.get(PASSPHRASE)
    except OSError as error:
        raise NotDone(f"{PASSPHRASE}_FILE: {file} cannot be read ({error.strerror})") from None
    if passphrase and len(passphrase) < PASSPHRASE_CHARACTERS_MIN:
        raise NotDone(f"{PASSPHRASE} needs at least {PASSPHRASE_CHARACTERS_MIN} characters")
    return passphrase or None


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
