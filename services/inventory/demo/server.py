"""The HTTP server of the fake AWS: it checks signatures, session tokens and permissions like AWS."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from services.inventory.demo.apis import ANSWERS, PERMISSIONS, Answer, Service
from services.inventory.demo.world import Refused, World


class Handler(BaseHTTPRequestHandler):
    """Implements the JSON 1.1 protocol, and the query protocol for STS."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "Double"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        target = self.headers.get("X-Amz-Target")
        try:
            with self.server.world.lock:
                number, region = self._who(body)
                if target is None:
                    self._send(200, self._sts(number, parse_qs(body.decode())), "text/xml")
                    return
                answer = self._answer(
                    target.rpartition(".")[2], Service(self.server.world, number, region, json.loads(body))
                )
            self._send(200, json.dumps(answer, default=_epoch), "application/x-amz-json-1.1")
        except Refused as refused:
            self._refuse(refused, is_query=target is None)

    def _who(self, body: bytes) -> tuple[str, str]:
        """Verify the signature; return the account of the key and the region of the request."""
        said = self.headers.get("Authorization", "")
        try:
            scope = said.partition("Credential=")[2].partition(",")[0].split("/")
            key_id, _, region, service, _ = scope
        except ValueError:
            raise Refused("MissingAuthenticationToken", "Missing Authentication Token", 403) from None
        secret, number, token = self.server.world.keys.get(key_id, ("", "", ""))
        if not secret or token != self.headers.get("X-Amz-Security-Token", ""):
            code = "InvalidClientTokenId" if service == "sts" else "UnrecognizedClientException"
            raise Refused(code, "The security token included in the request is invalid.", 403)
        if said.rpartition("Signature=")[2] != self._signature(body, key_id, secret, region, service):
            code = "SignatureDoesNotMatch" if service == "sts" else "InvalidSignatureException"
            raise Refused(code, "The request signature we calculated does not match", 403)
        return number, region

    def _signature(self, body: bytes, key_id: str, secret: str, region: str, service: str) -> str:
        names = self.headers["Authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
        url = f"http://{self.headers['Host']}{self.path}"
        signed = {name: self.headers[name] for name in names}
        request = AWSRequest(method="POST", url=url, data=body, headers=signed)
        request.context["timestamp"] = self.headers["X-Amz-Date"]
        auth = SigV4Auth(Credentials(key_id, secret), service, region)
        text = auth.string_to_sign(request, auth.canonical_request(request))
        return str(auth.signature(text, request))

    def _answer(self, operation: str, service: Service) -> Answer:
        world = self.server.world
        world.calls.append(operation)
        permission = PERMISSIONS.get(operation)
        if permission is None:
            raise Refused("UnknownOperationException", f"no operation {operation}")
        if permission in world.denied:
            user = f"arn:aws:iam::{service.number}:user/gatehouse"
            raise Refused("AccessDeniedException", f"User: {user} is not authorized to perform: {permission}")
        if world.throttle_every and len(world.calls) % world.throttle_every == 0:
            raise Refused("ThrottlingException", "Rate exceeded")
        number = world.count(operation)
        if world.before_page is not None:
            world.before_page(operation, number)
        if number >= world.broken.get(operation, number + 1):
            raise Refused("InternalServerException", "We are sorry", 500)
        return ANSWERS[operation](service)

    def _sts(self, number: str, form: dict[str, list[str]]) -> str:
        world, action = self.server.world, form["Action"][0]
        world.calls.append(action)
        if action == "GetCallerIdentity":
            arn = f"arn:aws:iam::{number}:user/gatehouse"
            inside = f"<Arn>{arn}</Arn><UserId>AIDA</UserId><Account>{number}</Account>"
        else:
            role = form["RoleArn"][0]
            external = form.get("ExternalId", [None])[0]
            if role not in world.roles or world.roles[role] != external:
                raise Refused("AccessDenied", f"not authorized to perform: sts:AssumeRole on {role}", 403)
            key_id = f"ASIADOUBLE{len(world.keys):010}"
            world.keys[key_id] = ("session/secret", role.split(":")[4], "a-session-token")
            until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
            inside = (
                f"<Credentials><AccessKeyId>{key_id}</AccessKeyId><SecretAccessKey>session/secret"
                f"</SecretAccessKey><SessionToken>a-session-token</SessionToken><Expiration>{until}"
                "</Expiration></Credentials>"
            )
        space = "https://sts.amazonaws.com/doc/2011-06-15/"
        return (
            f'<{action}Response xmlns="{space}"><{action}Result>{inside}</{action}Result></{action}Response>'
        )

    def _refuse(self, refused: Refused, *, is_query: bool) -> None:
        if is_query:
            told = f"<Code>{refused.code}</Code><Message>{refused.message}</Message>"
            self._send(refused.status, f"<ErrorResponse><Error>{told}</Error></ErrorResponse>", "text/xml")
        else:
            told = json.dumps({"__type": refused.code, "message": refused.message})
            self._send(refused.status, told, "application/x-amz-json-1.1")

    def _send(self, status: int, text: str, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class Double(ThreadingHTTPServer):
    """The server; `world` may be changed or replaced while it runs."""

    daemon_threads = True

    def __init__(self, world: World, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.world = world

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving(world: World) -> Iterator[Double]:
    with Double(world) as double:
        thread = threading.Thread(target=double.serve_forever, daemon=True)
        thread.start()
        try:
            yield double
        finally:
            double.shutdown()
            thread.join()


def _epoch(value: Any) -> float:
    if not isinstance(value, datetime):
        raise TypeError(f"not JSON: {value!r}")
    return value.timestamp()
