"""The description of a file to come, checked before its bytes are received."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.files.models import Visibility
from services.files.names import good_name, last_part
from services.files.schemas import METADATA, VISIBILITY, dumped
from shared.http.inputs import valid_field


@dataclass(frozen=True, slots=True)
class Described:
    name: str
    declared_type: str | None
    visibility: Visibility
    details: str


def describe(name: str, declared_type: str | None, fields: Mapping[str, str]) -> Described:
    """From what came as text: the path that some clients send for a name, and fields that may be left out."""
    visibility = valid_field("visibility", VISIBILITY.validate_python, fields.get("visibility", "private"))
    metadata = valid_field("metadata", METADATA.validate_json, fields.get("metadata", "{}"))
    return Described(good_name(last_part(name)), declared_type, visibility, dumped(metadata))
