"""A self-signed certificate, for trying HTTPS: `gatehouse env --certificate NAME`."""

import os
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared.clock import now

DAYS = 90
_EARLIER = timedelta(hours=1)  # for clocks that are slow


def write_pair(folder: Path, name: str) -> bool:
    """Write cert.pem and key.pem for this name; return False if there is a pair already."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    if certificate.exists() or key.exists():
        return False
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    secret = ec.generate_private_key(ec.SECP256R1())
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    _write(key, secret.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain), 0o600)
    _write(certificate, _signed(name, secret).public_bytes(pem), 0o644)
    return True


def _signed(name: str, secret: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - _EARLIER)
        .not_valid_after(now() + timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName([_alternative(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(secret, hashes.SHA256())
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(file: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
        out.write(content)
