"""Debian's postfix with one mailbox: a mail server that nobody here has written."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests import support

SECONDS = 60
MAILBOX = "ann@example.com"
PROGRAMS = "/usr/lib/postfix/sbin"
MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
daemon_directory = {programs}
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
myhostname = mail.example.com
mydestination =
alias_maps =
local_recipient_maps =
smtpd_relay_restrictions = permit_mynetworks, reject
virtual_mailbox_domains = example.com
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = inline:{{{mailbox}=box/}}
virtual_minimum_uid = 100
virtual_uid_maps = static:{user}
virtual_gid_maps = static:{group}
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
"""
MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
"""


@dataclass(frozen=True)
class Postfix:
    port: int
    folder: Path

    @property
    def mails(self) -> list[EmailMessage]:
        files = sorted((self.folder / "mail" / "box" / "new").glob("*"))
        return [message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


@contextmanager
def serving() -> Iterator[Postfix]:
    """Run postfix with its own configuration, queue and mailbox."""
    (program,) = support.need("postfix")
    if os.geteuid() != 0:
        pytest.skip("postfix starts only as root")
    folder = Path(tempfile.mkdtemp(prefix="gatehouse-postfix-"))  # pytest's folders are closed to its users
    port, etc = support.free_port(), folder / "etc"
    try:
        folder.chmod(0o755)
        for name, owner in {"etc": "root", "queue": "root", "data": "postfix", "mail": "nobody"}.items():
            (folder / name).mkdir()
            shutil.chown(folder / name, owner)
        shutil.chown(folder / "mail", group="nogroup")
        owned = (folder / "mail").stat()
        told = {"folder": folder, "programs": PROGRAMS, "mailbox": MAILBOX}
        main = MAIN.format(**told, user=owned.st_uid, group=owned.st_gid)
        (etc / "main.cf").write_text(main)
        (etc / "master.cf").write_text(MASTER.format(port=port))
        subprocess.run([program, "-c", str(etc), "start"], check=True, capture_output=True, timeout=SECONDS)
        yield Postfix(port, folder)
    finally:
        subprocess.run([program, "-c", str(etc), "stop"], check=False, capture_output=True, timeout=SECONDS)
        shutil.rmtree(folder)
