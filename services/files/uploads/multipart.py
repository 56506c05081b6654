"""A multipart form with one file, parsed as it arrives, without buffering the file."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from services.files.errors import BadForm, FileTooLarge
from shared.errors import BadRequest, FieldFault, UnsupportedMediaType

PARTS_MAX = 10
PART_HEADERS_MAX = 8
PART_HEADER_BYTES_MAX = 4096
FIELD_BYTES_MAX = 16 * 1024
OVERHEAD_BYTES_MAX = PARTS_MAX * (PART_HEADERS_MAX * PART_HEADER_BYTES_MAX + FIELD_BYTES_MAX)
FILE_FIELD = "file"


@dataclass(frozen=True, slots=True)
class FilePart:
    """The start of the file: its headers, and its maximum size if known."""

    name: str
    declared_type: str | None
    bytes_at_most: int | None


@dataclass(slots=True)
class _Part:
    """The part that is being read."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    header_name: bytes = b""
    header_value: bytes = b""
    field_name: str = ""
    file_name: str = ""
    is_file: bool = False
    is_begun: bool = False
    content: bytearray = field(default_factory=bytearray)


class Form:
    """Yields the FilePart, then its content; the other fields are in `fields` at the end."""

    def __init__(self, request: Request, allowed: frozenset[str], file_bytes_max: int) -> None:
        self.fields: dict[str, str] = {}
        self._file_bytes_max = file_bytes_max
        self._request = request
        self._allowed = allowed
        self._boundary = _boundary(request.headers.get("content-type"))
        self._found: list[FilePart | bytes] = []
        self._part = _Part()
        self._parts = 0
        self._has_file = self._is_complete = False
        self._received = 0
        self._piece = b""
        self._parser = MultipartParser(
            self._boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._content,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
            max_header_count=PART_HEADERS_MAX,
            max_header_size=PART_HEADER_BYTES_MAX,
        )

    async def __aiter__(self) -> AsyncIterator[FilePart | bytes]:
        declared = self._request.headers.get("content-length", "")
        self._check_size(int(declared) if declared.isdecimal() else 0)
        try:
            async for piece in self._request.stream():
                self._check_size(self._received + len(piece))
                self._piece = piece
                self._parser.write(piece)
                self._received += len(piece)
                found, self._found = self._found, []
                for one in found:
                    yield one
        except FormParserError as error:
            raise BadForm(
                "The body is not the form that its Content-Type announces; let your client build the form."
            ) from error
        except ClientDisconnect as error:
            raise BadRequest("The connection was closed before the whole file had arrived.") from error
        if not self._is_complete:
            raise BadForm("The form is incomplete; send it again.")
        if not self._has_file:
            raise BadForm(errors=[FieldFault(field=FILE_FIELD, code="missing", message="must be given")])

    def _check_size(self, size: int) -> None:
        if size > self._file_bytes_max + OVERHEAD_BYTES_MAX:
            raise too_large(self._file_bytes_max)

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > PARTS_MAX:
            raise BadForm(f"The form has more than {PARTS_MAX} parts.")
        self._part = _Part()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._part.header_name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.header_value += data[start:end]

    def _end_header(self) -> None:
        part = self._part
        part.headers[part.header_name.lower()] = part.header_value
        part.header_name = part.header_value = b""

    def _end_headers(self) -> None:
        part = self._part
        kind, options = parse_options_header(part.headers.get(b"content-disposition"))
        part.field_name = options.get(b"name", b"").decode("utf-8", "replace")
        part.is_file = part.field_name == FILE_FIELD
        if kind != b"form-data" or not (part.is_file or part.field_name in self._allowed):
            known = ", ".join([FILE_FIELD, *sorted(self._allowed)])
            raise BadForm(f"The form has an unknown field; the known fields are: {known}.")
        if not part.is_file:
            return
        if self._has_file:
            raise BadForm("The form has more than one file; send one request for each.")
        self._has_file = True
        part.file_name = _text(options.get(b"filename", b""), "filename")

    def _begin_file(self, position: int) -> None:
        part = self._part
        part.is_begun = True
        declared, after = (
            self._request.headers.get("content-length", ""),
            len(self._boundary) + len("\r\n----"),
        )
        self._found.append(
            FilePart(
                name=part.file_name,
                declared_type=part.headers.get(b"content-type", b"").decode("latin-1") or None,
                # Exact if the file is the last part: the announced length minus the framing.
                bytes_at_most=max(0, int(declared) - position - after) if declared.isdecimal() else None,
            )
        )

    def _content(self, data: bytes, start: int, end: int) -> None:
        if self._part.is_file:
            if not self._part.is_begun:
                # Bytes that looked like the start of a boundary come late, in a separate buffer.
                is_late = data is not self._piece
                self._begin_file(self._received + (-len(self._boundary) - 8 if is_late else start))
            self._found.append(data[start:end])
            return
        self._part.content += data[start:end]
        if len(self._part.content) > FIELD_BYTES_MAX:
            raise BadForm(f"The field {self._part.field_name} has more than {FIELD_BYTES_MAX} bytes.")

    def _end_part(self) -> None:
        part = self._part
        if part.is_file:
            if not part.is_begun:  # it is empty
                self._begin_file(self._received)
            return
        if part.field_name in self.fields:
            raise BadForm(f"The form has the field {part.field_name} twice.")
        self.fields[part.field_name] = _text(bytes(part.content), part.field_name)

    def _end(self) -> None:
        self._is_complete = True


def too_large(limit: int) -> FileTooLarge:
    fault = FieldFault(field=FILE_FIELD, code="too_large", message=f"at most {limit} bytes")
    return FileTooLarge(
        f"Form uploads are limited to {limit} bytes; send larger files to /files/uploads in chunks.",
        limit_bytes=limit,
        errors=[fault],
    )


def _boundary(content_type: str | None) -> bytes:
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data":
        message = "must be multipart/form-data, for example by curl -F file=@report.pdf"
        fault = FieldFault(field="Content-Type", code="wrong", message=message)
        raise UnsupportedMediaType("The body must be a form with a file.", errors=[fault])
    if not 1 <= len(boundary) <= 70:  # RFC 2046
        raise BadForm("Content-Type must name a boundary of 1 to 70 characters.")
    return boundary


def _text(raw: bytes, name: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BadForm(f"The {name} is not text in UTF-8.") from error
