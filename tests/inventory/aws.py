"""Data for the fake AWS. To run it by hand: `python -m tests.inventory.aws --port 4566 --workspaces 300`."""

import argparse
import json
import random
from datetime import datetime, timedelta
from typing import Any

from services.inventory.demo.apis import PERMISSIONS, product_text
from services.inventory.demo.server import Double, serving
from services.inventory.demo.world import (
    BUNDLES,
    HOME,
    NUMBER,
    REGION,
    Place,
    Row,
    World,
    standard_prices,
)

__all__ = [
    "BUNDLES",
    "HOME",
    "NUMBER",
    "PERMISSIONS",
    "REGION",
    "Double",
    "Place",
    "World",
    "product_text",
    "serving",
    "standard_prices",
]
KEY_ID, SECRET = "AKIADOUBLE0000000001", "double/secret+of+the+service/0000000000"
ROLE, EXTERNAL_ID = f"arn:aws:iam::{NUMBER}:role/gatehouse", "an-external-id"
USERS = "ann bob carla dmitri eve farid gwen hana ivan june kofi lena".split()


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
