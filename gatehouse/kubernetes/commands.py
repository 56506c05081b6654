"""`gatehouse kubernetes`: writes the manifests, or prints the Secrets."""

import argparse
import sys
from ipaddress import ip_network
from pathlib import Path

from gatehouse.place import IS_PACKED, ROOT


def kubernetes(arguments: argparse.Namespace) -> int:
    """Draw the Kubernetes manifests from the list of services, or print the Secrets for kubectl apply."""
    from gatehouse.compose import NotDrawn
    from gatehouse.kubernetes import drawing, secret_values, suite

    choices = suite.Choices(arguments.registry, arguments.host, arguments.pod_network)
    try:
        if arguments.what == "secrets":
            given = secret_values.given_in(Path(arguments.env))
            found = secret_values.drawn(
                suite.read(ROOT, choices), given, postgres=arguments.postgres, redis=arguments.redis
            )
            sys.stdout.write(drawing.text(*found))
            return 0
        if IS_PACKED and not arguments.to:
            sys.stderr.write("there is no checkout here: say where to write, with --to\n")
            return 2
        folder = Path(arguments.to) if arguments.to else ROOT / drawing.FOLDER
        changed = drawing.write(ROOT, folder, choices)
    except (NotDrawn, secret_values.Missing) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{error.filename}: {error.strerror}\n")
        return 1
    sys.stdout.write("".join(f"{'wrote' if file.exists() else 'removed'} {file}\n" for file in changed))
    return 0


def describe(parser: argparse.ArgumentParser) -> None:
    what = "`manifests` (default): write them; `secrets`: print the Secrets made from .env"
    parser.add_argument("what", nargs="?", choices=("manifests", "secrets"), default="manifests", help=what)
    parser.add_argument("--to", help="the folder to write to (default: deploy/kubernetes)")
    parser.add_argument("--registry", default="", help="where the images are: registry.example.com/team")
    parser.add_argument("--host", default="gatehouse.example.com", help="the public host name")
    parser.add_argument(
        "--pod-network", type=_network, default="10.244.0.0/16", help="the network of the cluster's pods"
    )
    parser.add_argument("--env", default=".env", help="secrets: the file with the values")
    parser.add_argument("--postgres", default="postgres:5432", help="secrets: the host of PostgreSQL")
    parser.add_argument("--redis", default="redis:6379", help="secrets: the host of Redis")


def _network(text: str) -> str:
    return str(ip_network(text))
