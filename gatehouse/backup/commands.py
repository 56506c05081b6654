"""`gatehouse backup` and `gatehouse restore`."""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from gatehouse.backup import NotDone
from gatehouse.backup.given import secret
from gatehouse.place import ROOT

PASSPHRASE = "BACKUP_PASSPHRASE"  # noqa: S105 - the name of a variable


def backup(arguments: argparse.Namespace) -> int:
    """Write all data of the suite to one file, while it runs; or verify such a file."""
    from gatehouse.backup import locations, parts, retention, taking, verifying

    try:
        if arguments.verify:
            verifying.verify(ROOT, arguments.verify, passphrase=_passphrase(), say=_say)
            sys.stdout.write(f"{arguments.verify}: complete, and it can be restored\n")
            return 0
        keep = retention.parsed(arguments.keep)
        if keep and arguments.service:
            raise NotDone("--keep counts backups of all services: leave out --service")  # noqa: TRY301
        wish = taking.Wish(
            arguments.service,
            passphrase_or_consent(without_secrets=arguments.without_secrets),
            Path(os.environ.get("ROUTES_FILE") or ROOT / "routes.yaml"),
            with_buckets=not arguments.without_buckets,
        )
        place = locations.place_of(
            arguments.to, work=parts.data_dir(ROOT) / "backup", receipts=_receipts(arguments.to)
        )
        taken = taking.take(ROOT, place, wish, _say)
        removed = retention.remove(place, keep) if keep else []
    except NotDone as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if taken.warning:
        _say(f"{taken.path}: {taken.warning}")
    if arguments.json:
        told = asdict(taken) | {"removed": removed}
        sys.stdout.write(f"{json.dumps(told)}\n")
    else:
        sys.stdout.write("".join(f"removed {path}\n" for path in removed))
        sys.stdout.write(f"wrote {taken.path}: {taken.size / 1e6:,.1f} MB in {taken.seconds:.1f} s\n")
    return 0


def restore(arguments: argparse.Namespace) -> int:
    """Restore a whole backup, or some of its services; the suite must be stopped."""
    from gatehouse.backup import locations, restoring

    try:
        manifest = restoring.restore(
            ROOT,
            locations.file_of(arguments.file),
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
    default = os.environ.get("BACKUP_TO") or str(_folder())
    parser.add_argument(
        "--to",
        default=default,
        help="the folder or s3://bucket/prefix to write to (BACKUP_TO, or BACKUP_DIR)",
    )
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
    parser.add_argument(
        "--without-buckets",
        action="store_true",
        help="leave the content of S3 buckets out if their versioning keeps it",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--verify",
        metavar="FILE",
        help="restore this backup to a scratch folder, start and read it",
    )


def describe_restore(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="the backup: a file, or s3://bucket/prefix/file")
    _services(parser)
    parser.add_argument(
        "--replace", action="store_true", help="move existing data aside, into DATA_DIR/replaced-TIME"
    )


def _folder() -> Path:
    return Path(os.environ.get("BACKUP_DIR") or "backups")


def _receipts(to: str) -> Path:
    """Return the folder in which backups in buckets are noted."""
    folder = _folder()
    if to.startswith("s3:") and str(folder).startswith("s3:"):
        raise NotDone("BACKUP_DIR is a folder; name the bucket with BACKUP_TO or --to. No backup was made.")
    return folder


def _services(parser: argparse.ArgumentParser) -> None:
    text = "only this service; may be repeated"
    parser.add_argument("--service", action="append", default=[], metavar="NAME", help=text)


def passphrase_or_consent(*, without_secrets: bool) -> str | None:
    """Return the passphrase that seals the secrets; None if they are left out on purpose."""
    passphrase = None if without_secrets else _passphrase()
    if passphrase is None and not without_secrets:
        raise NotDone(
            f"set {PASSPHRASE} (or {PASSPHRASE}_FILE) to seal the suite's secrets in the backup, or choose "
            "--without-secrets if you keep them elsewhere: nobody can read the backup without its secrets"
        )
    return passphrase


def _passphrase() -> str | None:
    from gatehouse.backup.sealing import PASSPHRASE_CHARACTERS_MIN

    passphrase = secret(PASSPHRASE)
    if passphrase and len(passphrase) < PASSPHRASE_CHARACTERS_MIN:
        raise NotDone(f"{PASSPHRASE} needs at least {PASSPHRASE_CHARACTERS_MIN} characters")
    return passphrase


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
