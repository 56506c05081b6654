"""`gatehouse upgrade`."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gatehouse.place import ROOT
from gatehouse.upgrade import NotUpgraded

if TYPE_CHECKING:
    from gatehouse.upgrade.running import Wanted


def upgrade(arguments: argparse.Namespace) -> int:
    """Upgrade the suite to this code while it runs: doctor, backup, migrate, replace, verify."""
    try:
        return _back(arguments) if arguments.back else _upgraded(arguments)
    except NotUpgraded as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _upgraded(arguments: argparse.Namespace) -> int:
    from gatehouse.upgrade.running import Upgrade, alone_in

    chosen = Upgrade(_wanted(arguments))
    if arguments.dry_run:
        about = chosen.prepare()
        _tell(arguments, about, "".join(f"{line}\n" for line in chosen.lines(about)))
        _say("this is the plan; nothing was changed")
        return 0
    with alone_in(chosen.data_dir):
        chosen.prepare()
        done = chosen.run()
    _tell(
        arguments,
        done,
        f"upgraded in {done['seconds']:,} s; backup: {done['backup'] or 'nothing to back up'}\n",
    )
    if not done["rolled"]:
        _say("now replace the programs, services first: the databases are ready for the old and the new code")
    _say("the way back: gatehouse upgrade --back, then start the former code; it keeps all data")
    return 0


def _back(arguments: argparse.Namespace) -> int:
    from gatehouse.upgrade.running import go_back

    done = go_back(_wanted(arguments))
    stop = f"; stop {', '.join(done['stop'])}, which are not part of it" if done["stop"] else ""
    words = f"the former code can use the databases: start it, the gateways first{stop}\n"
    _tell(arguments, done, words)
    return 0


def _wanted(arguments: argparse.Namespace) -> "Wanted":
    from gatehouse.upgrade.running import Wanted

    return Wanted(ROOT, arguments.roll, arguments.backup_to, arguments.without_secrets, _say)


def _tell(arguments: argparse.Namespace, told: dict[str, object], words: str) -> None:
    sys.stdout.write(f"{json.dumps(told)}\n" if arguments.json else words)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def describe(parser: argparse.ArgumentParser) -> None:
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--dry-run", action="store_true", help="show the plan; change nothing")
    modes.add_argument(
        "--back", action="store_true", help="let the code from before the last upgrade use the databases"
    )
    parser.add_argument(
        "--roll",
        metavar="COMMAND",
        help="replaces the program whose name is put in place of {}, and returns once the new one serves",
    )
    default = Path(os.environ.get("BACKUP_DIR") or "backups")
    parser.add_argument("--backup-to", type=Path, default=default, metavar="FOLDER", help="(BACKUP_DIR)")
    text = "leave the secrets out of the backup if BACKUP_PASSPHRASE is not set"
    parser.add_argument("--without-secrets", action="store_true", help=text)
    parser.add_argument("--json", action="store_true", help="print the plan or the result as JSON")
