"""The OpenAPI document of the gateway's own operations."""

from typing import Any

from gateway.site.admin.openapi import admin_paths, admin_schemas
from gateway.site.openapi_components import Document
from shared import __version__
from shared.http.openapi_frame import frame

_TEXT = {"type": "string"}
_TIME = {"type": "string", "format": "date-time"}
_HEALTHY = {"type": "string", "const": "healthy"}


def own_document() -> Document:
    """Return a document like those of the services, with the same Problem and the same bearer scheme."""
    paths = {
        "/": _get(
            "show_index", "Show name and version.", _json(_object(name=_TEXT, version=_TEXT, docs=_TEXT))
        ),
        "/health": _get(
            "show_health",
            "Show the health of every service; 200 while the gateway itself runs.",
            _json(_health()),
        ),
        "/health/live": _get(
            "show_liveness",
            "Show that the process runs.",
            _json(_object(status=_HEALTHY, timestamp=_TIME)),
        ),
        "/health/ready": _get(
            "show_readiness",
            "Show whether requests can be forwarded.",
            _json(
                _object(
                    status=_HEALTHY,
                    timestamp=_TIME,
                    checks=_object(
                        routes={"type": "integer", "description": "Routes in the table."},
                        revocations={"type": "string", "enum": ["current", "stale"]},
                    ),
                )
            ),
        ),
        "/metrics": _get(
            "show_metrics",
            "Show counters and timings for Prometheus; requires METRICS_TOKEN.",
            _as("text/plain"),
        ),
        "/metrics/targets": _get(
            "show_metrics_targets",
            "Show where Prometheus finds the metrics of the services; requires METRICS_TOKEN.",
            _json(
                {
                    "type": "array",
                    "items": _object(
                        targets={"type": "array", "items": {"type": "string"}}, labels=_object(service=_TEXT)
                    ),
                }
            ),
        ),
        "/openapi.json": _get(
            "show_openapi", "Show this document.", _json({"type": "object", "required": ["openapi"]})
        ),
        "/docs": _get("show_docs", "Show this document as a page that can send requests.", _as("text/html")),
    }
    return frame("gateway", __version__, paths | admin_paths(), admin_schemas())


def _health() -> Document:
    service = _object(
        status={"type": "string", "enum": ["healthy", "unreachable"]},
        ms={"type": "number", "description": "How long the check took, in milliseconds."},
    )
    return {
        "description": "The gateway and the services behind it.",
        **_object(
            status={"type": "string", "enum": ["healthy", "degraded"]},
            timestamp=_TIME,
            services={"type": "object", "additionalProperties": service},
        ),
    }


def _get(name: str, summary: str, content: Document) -> Document:
    answer = {"description": "Done", "content": content}
    return {
        "get": {
            "operationId": name,
            "summary": summary,
            "parameters": [],
            "responses": {"200": answer},
            "security": [],
        }
    }


def _json(schema: Document) -> Document:
    return {"application/json": {"schema": schema}}


def _as(media_type: str) -> Document:
    return {media_type: {"schema": _TEXT}}


def _object(**properties: Any) -> Document:
    return {"type": "object", "required": [*properties], "properties": properties}
