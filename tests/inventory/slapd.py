"""A real slapd with a small tree, on loopback, with a certificate of its own."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import support
from tests.shared.test_outbound import certificate

HOST = "localhost"
BASE, ADMIN, PASSWORD = "dc=corp,dc=example", "cn=inventory,dc=corp,dc=example", "planted-password-of-slapd"
SECONDS = 20
PEOPLE = 700  # more than one page of a search


@dataclass(frozen=True)
class Slapd:
    ldap: str
    ldaps: str
    ca_file: Path


@contextmanager
def running(folder: Path) -> Iterator[Slapd]:
    """Start slapd with ann, Bob, carla, and many people who have no WorkSpace."""
    slapd, slapadd = support.need("slapd", "slapadd")
    ca_file, _ = certificate(folder, HOST)
    (folder / "data").mkdir()
    config, tree = folder / "slapd.conf", folder / "tree.ldif"
    config.write_text(_config(folder))
    tree.write_text(_tree())
    subprocess.run([slapadd, "-f", str(config), "-l", str(tree)], check=True, capture_output=True)
    ports = support.free_port(), support.free_port()
    ldap, ldaps = f"ldap://{HOST}:{ports[0]}", f"ldaps://{HOST}:{ports[1]}"
    process = subprocess.Popen(
        [slapd, "-f", str(config), "-h", f"{ldap} {ldaps}", "-d", "0"], stderr=subprocess.DEVNULL
    )
    try:
        assert support.eventually(lambda: all(map(_listens, ports)), seconds=SECONDS)
        yield Slapd(ldap, ldaps, ca_file)
    finally:
        process.terminate()
        process.wait(SECONDS)


def _listens(port: int) -> bool:
    async def connect() -> None:
        _, writer = await asyncio.open_connection(HOST, port)
        writer.close()

    try:
        asyncio.run(connect())
    except OSError:
        return False
    return True


def _config(folder: Path) -> str:
    schemas = "".join(
        f"include /etc/ldap/schema/{name}.schema\n" for name in ("core", "cosine", "inetorgperson")
    )
    return f"""{schemas}
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
TLSCertificateFile {folder}/certificate.pem
TLSCertificateKeyFile {folder}/key.pem
security simple_bind=128
sizelimit size.prtotal=unlimited
database mdb
maxsize 67108864
suffix "{BASE}"
rootdn "{ADMIN}"
rootpw {PASSWORD}
directory {folder}/data
"""


def _tree() -> str:
    entries = [f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: Corp\ndc: corp\n"]
    names = ["ann", "Bob", "carla", *(f"user{number}" for number in range(PEOPLE))]
    entries += [
        f"dn: uid={name},{BASE}\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\nsn: {name}\n"
        f"displayName: {name.title()} Example\nmail: {name}@corp.example\ntitle: Tester\n"
        for name in names
    ]
    return "\n".join(entries)
