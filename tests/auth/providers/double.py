"""A fake provider for tests: an HTTP server that acts as OpenID providers and GitHub, honest or hostile."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.auth.conftest import _one_key

CLIENT, SECRET = "gatehouse client", "s3cret/with+signs"
Change = Callable[[dict[str, Any]], None]
RSA, EC = _one_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())


class Double:
    """The state of the server; `reset` makes it honest again."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.released = threading.Event()
        self.reset()

    def reset(self) -> None:
        self.released.set()
        self.released = threading.Event()
        self.codes: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        self.keys: list[dict[str, Any]] = [rsa_jwk("rsa")]
        self.change: dict[str, Change] = {}  # what to change in the metadata, the claims, …
        self.raw: dict[str, tuple[int, bytes, dict[str, str]]] = {}  # by the last part of the path
        self.hanging: set[str] = set()
        self.sign: Callable[[dict[str, Any]], str] = sign_rsa

    def issuer(self, name: str = "acme") -> str:
        return f"{self.url}/{name}"

    def consent(self, url: str, **person: Any) -> dict[str, str]:
        """Act as the person at the provider; return the query that the browser brings back."""
        parts = urlsplit(url)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        name = parts.path.split("/")[1]
        code = f"code-{len(self.codes)}"
        self.codes[code] = {**asked, "name": name, "person": person}
        return {"code": code, "state": asked["state"], "iss": self.issuer(name)}

    def serve(self, method: str, path: str, form: dict[str, str], authorization: str) -> tuple[int, bytes]:
        name, _, rest = path.lstrip("/").partition("/")
        if rest == ".well-known/openid-configuration":
            return 200, self._json("metadata", self._metadata(name))
        if rest == "jwks":
            return 200, self._json("jwks", {"keys": self.keys})
        if rest in ("token", "access_token") and method == "POST":
            return self._token(name, form, authorization)
        if rest in ("userinfo", "user", "user/emails"):
            return self._who(rest, authorization.removeprefix("Bearer "))
        return 404, b"{}"

    def _json(self, kind: str, body: Any) -> bytes:
        body = json.loads(json.dumps(body))
        if kind in self.change:
            self.change[kind](body)
        return json.dumps(body).encode()

    def _metadata(self, name: str) -> dict[str, Any]:
        issuer = self.issuer(name)
        return {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/authorize",
            "token_endpoint": f"{issuer}/token",
            "jwks_uri": f"{issuer}/jwks",
            "userinfo_endpoint": f"{issuer}/userinfo",
            "response_types_supported": ["code"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "HS256", "none"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            "authorization_response_iss_parameter_supported": True,
        }

    def _token(self, name: str, form: dict[str, str], authorization: str) -> tuple[int, bytes]:
        asked = self.codes.get(form.get("code", ""))
        if not is_client(form, authorization):
            return 401, b'{"error": "invalid_client"}'
        if asked is None or not fits(asked, form) or asked["name"] != name:
            return 400, b'{"error": "invalid_grant"}'
        asked["redirect_uri"] = "used"
        body: dict[str, Any] = {"access_token": form["code"], "token_type": "Bearer", "expires_in": 60}
        if "nonce" in asked:
            claims = {
                "iss": self.issuer(name),
                "aud": asked["client_id"],
                "iat": int(time.time()),
                "exp": int(time.time()) + 60,
                "nonce": asked["nonce"],
                "at_hash": at_hash(form["code"]),
                **asked["person"],
            }
            if "claims" in self.change:
                self.change["claims"](claims)
            body["id_token"] = self.sign(claims)
        return 200, self._json("token", body)

    def _who(self, kind: str, access_token: str) -> tuple[int, bytes]:
        asked = self.codes.get(access_token)
        if asked is None:
            return 401, b"{}"
        person = asked["person"]
        if kind == "user/emails":
            return 200, self._json("emails", person.get("emails", []))
        return 200, self._json("userinfo", person.get("userinfo", person))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    double: Double

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self._answer({name: values[0] for name, values in parse_qs(body).items()})

    def _answer(self, form: dict[str, str]) -> None:
        double, last = self.double, self.path.rpartition("/")[2]
        double.requests.append(f"{self.command} {self.path}")
        if last in double.hanging:
            double.released.wait()
            self.close_connection = True
            return
        headers: dict[str, str] = {}
        if last in double.raw:
            status, body, headers = double.raw[last]
        else:
            authorization = self.headers.get("authorization", "")
            status, body = double.serve(self.command, self.path, form, authorization)
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@contextmanager
def serving() -> Iterator[Double]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    double = _Handler.double = Double(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield double
    finally:
        double.reset()
        server.shutdown()
        thread.join()
        server.server_close()


def is_client(form: dict[str, str], authorization: str) -> bool:
    if authorization.startswith("Basic "):
        shown = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        return shown == urlencode({CLIENT: SECRET}).replace("=", ":", 1)
    return (form.get("client_id"), form.get("client_secret")) == (CLIENT, SECRET)


def fits(asked: dict[str, Any], form: dict[str, str]) -> bool:
    digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return (form.get("redirect_uri"), challenge) == (asked["redirect_uri"], asked["code_challenge"])


def at_hash(access_token: str) -> str:
    half = hashlib.sha256(access_token.encode()).digest()[:16]
    return base64.urlsafe_b64encode(half).decode().rstrip("=")


def sign_rsa(claims: dict[str, Any], **headers: Any) -> str:
    given = {name: value for name, value in {"kid": "rsa", **headers}.items() if value is not None}
    return jwt.encode(claims, RSA, algorithm="RS256", headers=given)


def sign_ec(claims: dict[str, Any], key_id: str = "ec") -> str:
    return jwt.encode(claims, EC, algorithm="ES256", headers={"kid": key_id})


def rsa_jwk(key_id: str | None) -> dict[str, Any]:
    made: dict[str, Any] = RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True)
    return {**made, "use": "sig", **({"kid": key_id} if key_id else {})}


def ec_jwk(key_id: str) -> dict[str, Any]:
    made: dict[str, Any] = ECAlgorithm.to_jwk(EC.public_key(), as_dict=True)
    return {**made, "use": "sig", "alg": "ES256", "kid": key_id}


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
