"""The key with which SendGrid signs its events."""

import base64
import binascii

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key


def sendgrid_key(text: str) -> EllipticCurvePublicKey:
    """Return the key that SendGrid shows; raise ValueError if it is none."""
    try:
        key = load_der_public_key(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise ValueError("is not the verification key that SendGrid shows") from error
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise ValueError("is not the verification key that SendGrid shows")
    return key
