"""`gatehouse dashboards`: draws the dashboards for Grafana in deploy/grafana from the table below."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gatehouse.place import ROOT

FOLDER = "deploy/grafana"
WIDTH, HEIGHT, COLUMNS = 8, 7, 3
SOURCE = {"type": "prometheus", "uid": "${source}"}

OF_GATEWAY = 'job="gateway"'
OF_ROUTE = 'job="gateway",route=~"$route"'
OF_SERVICE = 'job="service",service=~"$service"'


class Panel(NamedTuple):
    """One graph: its expressions are drawn together, each with a legend."""

    title: str
    unit: str  # as Grafana names it
    lines: tuple[tuple[str, str], ...]  # legend, expression


class Dashboard(NamedTuple):
    name: str
    title: str
    panels: tuple[Panel, ...]
    choices: tuple[tuple[str, str], ...] = ()  # a variable, and the query for its values


def _panel(title: str, unit: str, *lines: tuple[str, str]) -> Panel:
    return Panel(title, unit, lines)


def _rate(metric: str, labels: str, by: str, window: str = "5m") -> str:
    return f"sum by ({by}) (rate({metric}{{{labels}}}[{window}]))"


def _quantile(share: float, metric: str, labels: str, by: str) -> str:
    return f"histogram_quantile({share}, sum by ({by}, le) (rate({metric}_bucket{{{labels}}}[5m])))"


def _made(route: str, status: str = "2..") -> str:
    """Return how many POST requests a route had within an hour."""
    labels = f'job="gateway",route="{route}",method="POST",status=~"{status}"'
    return f"sum(increase(http_requests_total{{{labels}}}[1h]))"


ROUTES = ("route", 'label_values(http_requests_total{job="gateway"}, route)')
SERVICES = ("service", 'label_values(up{job="service"}, service)')
TABLE = (
    Dashboard(
        "overview",
        "Gatehouse: overview",
        (
            _panel("Requests", "reqps", ("{{route}}", "route:requests:rate5m")),
            _panel("Failed requests", "percentunit", ("{{route}}", "route:errors:ratio_rate5m")),
            _panel("Slowest in a hundred", "s", ("{{route}}", "route:duration_seconds:p99_rate5m")),
            _panel("Processes that respond", "short", ("{{job}}", "sum by (job) (up)")),
            _panel(
                "Oldest undelivered event", "s", ("{{service}}", "max by (service) (events_oldest_seconds)")
            ),
            _panel("Events given up", "short", ("{{service}}", "max by (service) (events_dead)")),
            _panel("Free disk space", "bytes", ("{{service}} {{holds}}", "disk_free_bytes")),
            _panel(
                "Lag of revocations",
                "s",
                ("{{job}} {{service}}", "max by (job, service) (revocation_lag_seconds)"),
            ),
            _panel("Versions", "short", ("{{version}}", "count by (version) (build_info)")),
        ),
    ),
    Dashboard(
        "route",
        "Gatehouse: one route of the gateway",
        (
            _panel("Requests", "reqps", ("{{status}}", _rate("http_requests_total", OF_ROUTE, "status"))),
            _panel(
                "Duration",
                "s",
                ("half", _quantile(0.5, "http_request_duration_seconds", OF_ROUTE, "job")),
                ("99 in a hundred", _quantile(0.99, "http_request_duration_seconds", OF_ROUTE, "job")),
            ),
            _panel(
                "Response time of the service",
                "s",
                ("half", _quantile(0.5, "gateway_upstream_duration_seconds", OF_ROUTE, "job")),
                ("99 in a hundred", _quantile(0.99, "gateway_upstream_duration_seconds", OF_ROUTE, "job")),
            ),
            _panel("Refusals", "reqps", ("{{code}}", _rate("gateway_refusals_total", OF_ROUTE, "code"))),
            _panel("Healthy targets", "short", ("{{target}}", f"gateway_target_healthy{{{OF_ROUTE}}}")),
            _panel("Connections", "short", ("{{instance}}", f"gateway_connections{{{OF_GATEWAY}}}")),
        ),
        (ROUTES,),
    ),
    Dashboard(
        "service",
        "Gatehouse: one service",
        (
            _panel("Requests", "reqps", ("{{route}}", _rate("http_requests_total", OF_SERVICE, "route"))),
            _panel(
                "Slowest in a hundred",
                "s",
                ("{{service}}", _quantile(0.99, "http_request_duration_seconds", OF_SERVICE, "service")),
            ),
            _panel(
                "Delay of the event loop", "s", ("{{instance}}", f"event_loop_lag_seconds{{{OF_SERVICE}}}")
            ),
            _panel(
                "Processor time",
                "percentunit",
                ("{{instance}}", f"rate(process_cpu_seconds_total{{{OF_SERVICE}}}[5m])"),
            ),
            _panel("Memory", "bytes", ("{{instance}}", f"process_resident_memory_bytes{{{OF_SERVICE}}}")),
            _panel("Open files", "short", ("{{instance}}", f"process_open_fds{{{OF_SERVICE}}}")),
            _panel(
                "Database connections",
                "short",
                ("in use", f"database_connections_in_use{{{OF_SERVICE}}}"),
                ("at most", f"database_connections_max{{{OF_SERVICE}}}"),
                ("waiting calls", f"database_calls_waiting{{{OF_SERVICE}}}"),
            ),
            _panel(
                "Database size",
                "bytes",
                ("database", f"database_size_bytes{{{OF_SERVICE}}}"),
                ("write-ahead log", f"database_wal_bytes{{{OF_SERVICE}}}"),
            ),
            _panel("Migration", "short", ("{{instance}}", f"migration_version{{{OF_SERVICE}}}")),
        ),
        (SERVICES,),
    ),
    Dashboard(
        "events",
        "Gatehouse: events and duties",
        (
            _panel(
                "Waiting events",
                "short",
                ("{{service}} to {{subscriber}}", "sum by (service, subscriber) (events_waiting)"),
            ),
            _panel(
                "Oldest waiting event",
                "s",
                ("{{service}} to {{subscriber}}", "max by (service, subscriber) (events_oldest_seconds)"),
            ),
            _panel("Events to be retried", "short", ("{{service}}", "sum by (service) (events_parked)")),
            _panel("Events given up", "short", ("{{service}}", "sum by (service) (events_dead)")),
            _panel(
                "Since a duty was last done",
                "s",
                (
                    "{{service}} {{duty}}",
                    "time() - max by (service, duty) (duty_last_success_timestamp_seconds)",
                ),
            ),
            _panel("Open streams", "short", ("{{service}}", "sum by (service) (streams_open)")),
        ),
    ),
    Dashboard(
        "business",
        "Gatehouse: what people do",
        (
            _panel("Registrations in an hour", "short", ("registered", _made("auth-register"))),
            _panel("Sign-ins in an hour", "short", ("signed in", _made("auth-login", "2.."))),
            _panel("Refused sign-ins in an hour", "short", ("refused", _made("auth-login", "4.."))),
            # These count more than new orders, uploads and tickets: credit notes, links and replies as well.
            _panel("POST requests of /orders in an hour", "short", ("done", _made("orders"))),
            _panel("POST requests of /files in an hour", "short", ("done", _made("files"))),
            _panel("POST requests of /tickets in an hour", "short", ("done", _made("support"))),
        ),
    ),
)


def expressions() -> Iterator[tuple[str, str]]:
    """Yield every expression with the dashboard and the panel that draws it."""
    for board in TABLE:
        for panel in board.panels:
            for _, expression in panel.lines:
                yield f"{board.name}: {panel.title}", expression


def drawn(root: Path) -> dict[Path, str]:
    """Return the expected content of each file, by path."""
    return {
        root / FOLDER / f"{board.name}.json": json.dumps(_dashboard(board), indent=1, ensure_ascii=False)
        + "\n"
        for board in TABLE
    }


def dashboards(_arguments: argparse.Namespace) -> int:
    """Write the dashboards for Grafana."""
    for file, text in drawn(ROOT).items():
        if not file.exists() or file.read_text() != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            sys.stdout.write(f"wrote {file.relative_to(ROOT)}\n")
    return 0


def _dashboard(board: Dashboard) -> dict[str, Any]:
    source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    return {
        "uid": f"gatehouse-{board.name}",
        "title": board.title,
        "tags": ["gatehouse"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [source, *(_choice(*choice) for choice in board.choices)]},
        "panels": [_drawn_panel(number, panel) for number, panel in enumerate(board.panels)],
    }


def _choice(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": query,
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _drawn_panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, COLUMNS)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": _targets(panel.lines),
    }


def _targets(lines: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    return [
        {"refId": chr(ord("A") + number), "expr": expression, "legendFormat": legend}
        for number, (legend, expression) in enumerate(lines)
    ]
