"""A multipart form with files, parsed as it arrives, without buffering the files."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from shared.errors import BadRequest, FieldFault, Problem, UnsupportedMediaType

FIELDS_MAX = 9
PART_HEADERS_MAX = 8
PART_HEADER_BYTES_MAX = 4096
FIELD_BYTES_MAX = 16 * 1024
PART_OVERHEAD_BYTES_MAX = PART_HEADERS_MAX * PART_HEADER_BYTES_MAX + FIELD_BYTES_MAX


class BadForm(BadRequest):
    """The body must be multipart/form-data, as built by `curl -F` or by a browser."""

    code = "bad_form"


@dataclass(frozen=True, slots=True)
class Expected:
    """What a form may contain: files in one field, and text in the others."""

    file_field: str
    fields: frozenset[str]
    bytes_max: int  # of all files together
    too_large: Callable[[], Problem]
    files_max: int = 1


@dataclass(frozen=True, slots=True)
class FilePart:
    """The start of a file: its headers, and its maximum size if known."""

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
    """Yields a FilePart for each file, then its content; the other fields are in `fields` at the end."""

    def __init__(self, request: Request, expected: Expected) -> None:
        self.fields: dict[str, str] = {}
        self._expected = expected
        self._request = request
        self._boundary = _boundary(request.headers.get("content-type"))
        self._found: list[FilePart | bytes] = []
        self._part = _Part()
        self._parts = self._files = 0
        self._is_complete = False
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
            raise BadRequest("The connection was closed before the whole form had arrived.") from error
        if not self._is_complete:
            raise BadForm("The form is incomplete; send it again.")
        if not self._files:
            fault = FieldFault(field=self._expected.file_field, code="missing", message="must be given")
            raise BadForm(errors=[fault])

    @property
    def _parts_max(self) -> int:
        return self._expected.files_max + FIELDS_MAX

    def _check_size(self, size: int) -> None:
        if size > self._expected.bytes_max + self._parts_max * PART_OVERHEAD_BYTES_MAX:
            raise self._expected.too_large()

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > self._parts_max:
            raise BadForm(f"The form has more than {self._parts_max} parts.")
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
        expected = self._expected
        part.is_file = part.field_name == expected.file_field
        if kind != b"form-data" or not (part.is_file or part.field_name in expected.fields):
            known = ", ".join([expected.file_field, *sorted(expected.fields)])
            raise BadForm(f"The form has an unknown field; the known fields are: {known}.")
        if not part.is_file:
            return
        if self._files == expected.files_max:
            limit = f"{expected.file_field} may occur at most {expected.files_max} times"
            raise BadForm(f"The field {limit}; send several requests.")
        self._files += 1
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
