"""A fake AWS for botocore, with paging, throttling, failures and its own clock.

It checks signatures, session tokens, external ids and permissions. To run it by hand:
`python -m tests.inventory.aws --port 4566 --workspaces 300`.
"""

import argparse
import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

NUMBER, REGION, HOME = "123456789012", "eu-central-1", "us-east-1"
KEY_ID, SECRET = "AKIADOUBLE0000000001", "double/secret+of+the+service/0000000000"
ROLE, EXTERNAL_ID = f"arn:aws:iam::{NUMBER}:role/gatehouse", "an-external-id"
BEGIN = datetime(2026, 3, 2, 9, tzinfo=UTC)
PAGE_ROWS, TAGGED_MAX, EVENTS_MAX = 25, 100, 50
METRICS_MAX, POINTS_MAX = 500, 100_800

Row = dict[str, Any]
Answer = dict[str, Any]

USERS = "ann bob carla dmitri eve farid gwen hana ivan june kofi lena".split()
BUNDLES = {
    "wsb-value0001": ("Value with Windows 10", "VALUE"),
    "wsb-stand0002": ("Standard with Windows 10", "STANDARD"),
    "wsb-perf00003": ("Performance with Windows 10", "PERFORMANCE"),
    "wsb-power0004": ("Power with Amazon Linux 2", "POWER"),
}


class Refused(Exception):
    """An error response of AWS."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


@dataclass
class Place:
    """What one account has in one region."""

    directories: list[Row] = field(default_factory=list)
    workspaces: dict[str, Row] = field(default_factory=dict)
    connections: dict[str, Row] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    events: list[Row] = field(default_factory=list)  # CloudTrail events
    connected: dict[str, list[datetime]] = field(default_factory=dict)  # samples of UserConnected
    costs: list[Row] = field(default_factory=list)  # day, resource, usage_type, region, amount, quantity


def standard_prices(region: str = REGION) -> list[Row]:
    """Create a price list of all bundles and volumes that the fake AWS uses."""
    rows = []
    for bundle, month, base, hour in (
        ("Value", 25, "7.25", "0.22"),
        ("Standard", 35, "9.75", "0.30"),
        ("Performance", 60, "13.00", "0.57"),
        ("Power", 80, "13.00", "0.68"),
    ):
        for user in (10, 50, 100):
            kind = {"region": region, "bundle": bundle, "root": 80, "user": user}
            rows += [
                {**kind, "mode": "AlwaysOn", "unit": "Month", "price": f"{month + user / 10:.10f}"},
                {**kind, "mode": "AutoStop", "unit": "Month", "price": base},
                {**kind, "mode": "AutoStop", "unit": "Hour", "price": hour},
            ]
    return rows


@dataclass
class World:
    """All data of the fake AWS, and its faults."""

    places: dict[tuple[str, str], Place] = field(default_factory=dict)
    keys: dict[str, tuple[str, str, str]] = field(default_factory=dict)  # id: secret, account, token
    roles: dict[str, str | None] = field(default_factory=dict)  # ARN: external id
    denied: set[str] = field(default_factory=set)  # permissions denied to every account
    throttle_every: int = 0  # throttle every nth call; 0 for none
    broken: dict[str, int] = field(default_factory=dict)  # operation: number of the first call that fails
    token_epoch: int = 0  # incrementing it expires all page tokens
    now: datetime = BEGIN
    is_cost_by_resource: bool = True
    cost_page_rows: int = 100
    estimated_days: int = 2
    prices: list[Row] = field(default_factory=standard_prices)
    metric_page_points: int = 100_800
    calls: list[str] = field(default_factory=list)
    before_page: Callable[[str, int], None] | None = (
        None  # called with the operation and the number of the call
    )
    lock: threading.RLock = field(default_factory=threading.RLock)

    def place(self, number: str = NUMBER, region: str = REGION) -> Place:
        return self.places.setdefault((number, region), Place())

    def count(self, operation: str) -> int:
        return self.calls.count(operation)


def new_world(workspaces: int = 0, seed: int = 1, region: str = REGION) -> World:
    """Create a world of one account, with WorkSpaces in two directories."""
    world = World()
    world.keys[KEY_ID] = (SECRET, NUMBER, "")
    world.roles[ROLE] = EXTERNAL_ID
    add_workspaces(world, workspaces, seed, region=region)
    return world


def add_workspaces(
    world: World, number_of: int, seed: int, *, account: str = NUMBER, region: str = REGION
) -> None:
    chance, place = random.Random(seed), world.place(account, region)
    for number, name in enumerate(("corp.example.com", "lab.example.com")):
        directory = {"DirectoryId": f"d-{seed % 1000:03}{number:07}", "DirectoryName": name}
        directory |= {"Alias": name.split(".")[0], "DirectoryType": "AD_CONNECTOR", "State": "REGISTERED"}
        if directory not in place.directories:
            place.directories.append(directory)
    for number in range(number_of):
        add_workspace(world, place, chance, f"ws-{seed:03}{number:06}", number)


def add_workspace(world: World, place: Place, chance: random.Random, workspace_id: str, number: int) -> None:
    bundle_id = chance.choice(list(BUNDLES))
    is_always_on = chance.random() < 0.3
    mode: Row = {"RunningMode": "ALWAYS_ON" if is_always_on else "AUTO_STOP"}
    if not is_always_on:
        mode["RunningModeAutoStopTimeoutInMinutes"] = 60
    state = chance.choices(["AVAILABLE", "STOPPED", "ERROR"], [60, 38, 2])[0]
    place.workspaces[workspace_id] = {
        "WorkspaceId": workspace_id,
        "DirectoryId": chance.choice(place.directories)["DirectoryId"],
        "UserName": f"{USERS[number % len(USERS)]}{number // len(USERS) or ''}",
        "IpAddress": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
        "State": state,
        "BundleId": bundle_id,
        "SubnetId": "subnet-0001",
        "ComputerName": f"WSAMZN-{number:06X}",
        "RootVolumeEncryptionEnabled": chance.random() < 0.5,
        "UserVolumeEncryptionEnabled": chance.random() < 0.5,
        "WorkspaceProperties": {
            **mode,
            "RootVolumeSizeGib": 80,
            "UserVolumeSizeGib": chance.choice([10, 50, 100]),
            "ComputeTypeName": BUNDLES[bundle_id][1],
            "OperatingSystemName": "WINDOWS_10",
            "Protocols": ["PCOIP"],
        },
    }
    connection: Row = {"WorkspaceId": workspace_id, "ConnectionState": "DISCONNECTED"}
    if chance.random() < 0.9:
        connection["LastKnownUserConnectionTimestamp"] = world.now - timedelta(hours=chance.randrange(1500))
    place.connections[workspace_id] = connection
    if chance.random() < 0.8:
        place.tags[workspace_id] = {"team": chance.choice(["red", "blue"]), "cost-center": str(number % 7)}


def add_event(place: Place, number: int, at: datetime, *, username: str = "ops", **more: Any) -> Row:
    """Add a CloudTrail event, by default a call that stopped a WorkSpace."""
    workspace_id = more.pop("workspace_id", min(place.workspaces, default="ws-000000001"))
    name, asked = more.pop("name", "StopWorkspaces"), [{"workspaceId": workspace_id}]
    inside = {
        "eventVersion": "1.08",
        "sourceIPAddress": "192.0.2.7",
        "requestParameters": {"stopWorkspaceRequests": asked},
        "responseElements": None,
        "userIdentity": {"type": "IAMUser", "userName": username},
        **more,
    }
    event = {
        "EventId": f"6f1c0f5e-0000-4000-8000-{number:012}",
        "EventName": name,
        "EventTime": at,
        "EventSource": "workspaces.amazonaws.com",
        "Username": username,
        "CloudTrailEvent": json.dumps(inside),
    }
    place.events.append(event)
    return event


class Service:
    """The operations of all APIs, for one request."""

    def __init__(self, world: World, number: str, region: str, body: Row) -> None:
        self.world, self.number, self.region, self.body = world, number, region, body
        self.place = world.place(number, region)

    def describe_workspace_directories(self) -> Answer:
        return self._page("Directories", self.place.directories, "DirectoryId", PAGE_ROWS)

    def describe_workspaces(self) -> Answer:
        rows = [self.place.workspaces[key] for key in sorted(self.place.workspaces)]
        return self._page("Workspaces", rows, "WorkspaceId", self.body.get("Limit", PAGE_ROWS))

    def describe_workspaces_connection_status(self) -> Answer:
        wanted = self._at_most("WorkspaceIds", PAGE_ROWS)
        found = [self.place.connections[key] for key in wanted if key in self.place.connections]
        return {"WorkspacesConnectionStatus": found}

    def describe_workspace_bundles(self) -> Answer:
        wanted = self._at_most("BundleIds", PAGE_ROWS)
        named = [(key, *BUNDLES[key]) for key in wanted if key in BUNDLES]
        return {
            "Bundles": [
                {"BundleId": key, "Name": name, "Owner": "AMAZON", "ComputeType": {"Name": kind}}
                for key, name, kind in named
            ]
        }

    def get_resources(self) -> Answer:
        keys = [arn.rpartition("/")[2] for arn in self._at_most("ResourceARNList", TAGGED_MAX)]
        arn = f"arn:aws:workspaces:{self.region}:{self.number}:workspace/"
        return {
            "PaginationToken": "",
            "ResourceTagMappingList": [
                {
                    "ResourceARN": arn + key,
                    "Tags": [{"Key": name, "Value": value} for name, value in self.place.tags[key].items()],
                }
                for key in keys
                if key in self.place.tags
            ],
        }

    def lookup_events(self) -> Answer:
        wanted = {one["AttributeKey"]: one["AttributeValue"] for one in self.body.get("LookupAttributes", ())}
        rows = [
            row
            for row in sorted(self.place.events, key=lambda row: row["EventTime"], reverse=True)
            if row["EventTime"].timestamp() >= self.body.get("StartTime", 0)
            and wanted.get("EventSource") in (None, row["EventSource"])
        ]
        size = self.body.get("MaxResults", EVENTS_MAX)
        if not 0 < size <= EVENTS_MAX:
            raise Refused("InvalidMaxResultsException", f"MaxResults must be between 1 and {EVENTS_MAX}")
        epoch, _, first = str(self.body.get("NextToken", f"{self.world.token_epoch}:0")).partition(":")
        if epoch != str(self.world.token_epoch):
            raise Refused("InvalidNextTokenException", "The next token is invalid")
        end = int(first) + size
        more = {"NextToken": f"{epoch}:{end}"} if end < len(rows) else {}
        return {"Events": rows[int(first) : end], **more}

    def get_metric_data(self) -> Answer:
        queries, body = self.body["MetricDataQueries"], self.body
        if not 0 < len(queries) <= METRICS_MAX:
            raise Refused("ValidationError", f"at most {METRICS_MAX} metrics")
        points: list[tuple[str, float]] = []
        for query in queries:
            stat = query["MetricStat"]
            assert (stat["Metric"]["MetricName"], stat["Period"]) == ("UserConnected", 300)
            samples = self.place.connected.get(stat["Metric"]["Dimensions"][0]["Value"], [])
            times = sorted(at.timestamp() for at in samples)
            points += [(query["Id"], at) for at in times if body["StartTime"] <= at < body["EndTime"]]
        first = int(body.get("NextToken", "0"))
        size = min(body.get("MaxDatapoints", POINTS_MAX), self.world.metric_page_points)
        some = points[first : first + size]
        results = [
            {
                "Id": query["Id"],
                "Label": "UserConnected",
                "Timestamps": [at for key, at in some if key == query["Id"]],
                "Values": [1.0 for key, _ in some if key == query["Id"]],
                "StatusCode": "Complete",
            }
            for query in queries
        ]
        more = {"NextToken": str(first + size)} if first + size < len(points) else {}
        return {"MetricDataResults": results, "Messages": [], **more}

    def get_products(self) -> Answer:
        assert self.region == HOME
        wanted = {one["Field"]: one["Value"] for one in self.body.get("Filters", ())}
        rows = [row for row in self.world.prices if row["region"] == wanted.get("regionCode", row["region"])]
        first, size = int(self.body.get("NextToken", "0")), self.body.get("MaxResults", 100)
        more = {"NextToken": str(first + size)} if first + size < len(rows) else {}
        page = [_product(row) for row in rows[first : first + size]]
        return {"FormatVersion": "aws_v1", "PriceList": page, **more}

    def get_cost_and_usage_with_resources(self) -> Answer:
        if not self.world.is_cost_by_resource:
            raise Refused("DataUnavailableException", "Resource-level data is not enabled")
        begin = (datetime.now(UTC) - timedelta(days=14)).date().isoformat()
        if self.body["TimePeriod"]["Start"] < begin:
            raise Refused("ValidationException", "Resource data goes back 14 days")
        return self._costs(("resource", "usage_type"))

    def get_cost_and_usage(self) -> Answer:
        return self._costs(("usage_type", "region"))

    def _costs(self, keys: tuple[str, str]) -> Answer:
        assert self.region == "us-east-1"
        days = self.body["TimePeriod"]
        groups: dict[tuple[str, str, str], list[Decimal]] = {}
        for row in self.place.costs:
            if days["Start"] <= row["day"] < days["End"]:
                sums = groups.setdefault((row["day"], row[keys[0]], row[keys[1]]), [Decimal(0), Decimal(0)])
                sums[0] += Decimal(row["amount"])
                sums[1] += Decimal(row["quantity"])
        first, size = int(self.body.get("NextPageToken", "0")), self.world.cost_page_rows
        by_day: dict[str, list[Row]] = {}
        for (day, one, two), (amount, quantity) in sorted(groups.items())[first : first + size]:
            metrics = {
                "UnblendedCost": {"Amount": f"{amount:f}", "Unit": "USD"},
                "UsageQuantity": {"Amount": f"{quantity:f}", "Unit": "Hrs"},
            }
            by_day.setdefault(day, []).append({"Keys": [one, two], "Metrics": metrics})
        recent = (datetime.now(UTC) - timedelta(days=self.world.estimated_days)).date().isoformat()
        results = [
            {"TimePeriod": {"Start": day, "End": day}, "Groups": rows, "Estimated": day >= recent}
            for day, rows in by_day.items()
        ]
        more = {"NextPageToken": str(first + size)} if first + size < len(groups) else {}
        return {"ResultsByTime": results, **more}

    def _at_most(self, name: str, most: int) -> list[str]:
        wanted: list[str] = self.body.get(name) or []
        if not 0 < len(wanted) <= most:
            raise Refused("ValidationException", f"{name} must have length between 1 and {most}")
        return wanted

    def _page(self, name: str, rows: list[Row], key: str, size: int) -> Answer:
        if not 0 < size <= PAGE_ROWS:
            raise Refused("ValidationException", f"Limit must be between 1 and {PAGE_ROWS}")
        after = ""
        if token := self.body.get("NextToken"):
            epoch, _, after = str(token).partition(":")
            if epoch != str(self.world.token_epoch):
                raise Refused("InvalidParameterValuesException", "The next token is invalid")
        rest = [row for row in rows if row[key] > after]
        more = {"NextToken": f"{self.world.token_epoch}:{rest[size - 1][key]}"} if len(rest) > size else {}
        return {name: rest[:size], **more}


def _product(row: Row) -> str:
    """Describe a price like AWS's price list."""
    attributes = {
        "servicecode": "AmazonWorkSpaces",
        "regionCode": row["region"],
        "bundle": row["bundle"],
        "license": "Included",
        "operatingSystem": row.get("system", "Windows"),
        "rootVolume": f"{row['root']} GB",
        "userVolume": f"{row['user']} GB",
        "runningMode": row["mode"],
        "softwareIncluded": row.get("software", "None"),
    }
    dimension = {"unit": row["unit"], "pricePerUnit": {"USD": row["price"]}}
    terms = {"OnDemand": {"T": {"priceDimensions": {"T.6YS6EN2CT7": dimension}}}}
    return json.dumps({"product": {"attributes": attributes}, "terms": terms})


PERMISSIONS = {
    "DescribeWorkspaceDirectories": "workspaces:DescribeWorkspaceDirectories",
    "DescribeWorkspaces": "workspaces:DescribeWorkspaces",
    "DescribeWorkspacesConnectionStatus": "workspaces:DescribeWorkspacesConnectionStatus",
    "DescribeWorkspaceBundles": "workspaces:DescribeWorkspaceBundles",
    "GetResources": "tag:GetResources",
    "LookupEvents": "cloudtrail:LookupEvents",
    "GetProducts": "pricing:GetProducts",
    "GetMetricData": "cloudwatch:GetMetricData",
    "GetCostAndUsageWithResources": "ce:GetCostAndUsageWithResources",
    "GetCostAndUsage": "ce:GetCostAndUsage",
}
ANSWERS: dict[str, Callable[[Service], Answer]] = {
    "DescribeWorkspaceDirectories": Service.describe_workspace_directories,
    "DescribeWorkspaces": Service.describe_workspaces,
    "DescribeWorkspacesConnectionStatus": Service.describe_workspaces_connection_status,
    "DescribeWorkspaceBundles": Service.describe_workspace_bundles,
    "GetResources": Service.get_resources,
    "LookupEvents": Service.lookup_events,
    "GetProducts": Service.get_products,
    "GetMetricData": Service.get_metric_data,
    "GetCostAndUsageWithResources": Service.get_cost_and_usage_with_resources,
    "GetCostAndUsage": Service.get_cost_and_usage,
}


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
    assert isinstance(value, datetime)
    return value.timestamp()


def main() -> None:
    parser = argparse.ArgumentParser(description="Run a fake AWS for the inventory service")
    parser.add_argument("--port", type=int, default=4566)
    parser.add_argument("--workspaces", type=int, default=300)
    parser.add_argument("--throttle-every", type=int, default=0)
    options = parser.parse_args()
    world = new_world(options.workspaces)
    world.throttle_every = options.throttle_every
    with Double(world, options.port) as double:
        print(f"{double.url}  AWS_ACCESS_KEY_ID={KEY_ID} AWS_SECRET_ACCESS_KEY={SECRET}", flush=True)
        double.serve_forever()


if __name__ == "__main__":
    main()
