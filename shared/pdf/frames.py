"""Messages between a service and its worker: a length, then that many bytes of JSON."""

import json
from collections.abc import Mapping
from typing import Any

LENGTH_BYTES = 4


def packed(message: Mapping[str, Any]) -> bytes:
    content = json.dumps(message).encode()
    return len(content).to_bytes(LENGTH_BYTES) + content
