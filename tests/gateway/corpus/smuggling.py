"""Requests whose end two parsers could see in different places.

Names are taken from the public suite Http11Probe, so that results can be compared.
"""

# One line for each case.
# ruff: noqa: E501
# fmt: off

from tests.gateway.corpus.case import (
    CHUNKED,
    HELLO,
    SMUGGLED,
    Case,
    chunked,
    get,
    length,
    passes,
    post,
    refused,
    request,
)

LENGTH = "Content-Length: 5"
BOTH = "RFC 9112 6.3: both framings; should be handled as an error"
CODING = "RFC 9112 6.1: only `chunked`, once and alone, is understood"
DIGITS = "RFC 9110 8.6: a length is 1*DIGIT"
SEVERAL = "RFC 9110 8.6: several lengths; may be refused even if they agree"
FOLD = "RFC 9112 5.2: a folded line is refused"
SIZE = "RFC 9112 7.1: a chunk size is 1*HEXDIG and nothing else"
EXTENSION = "RFC 9112 7.1.1: an extension is `;` token [ `=` value ]"
LINES = "RFC 9112 2.2: lines end with CR LF"
TRAILER = "RFC 9112 7.1.2: trailers are dropped, whatever they are called"
FRAMING_TRAILER = "RFC 9110 6.5.1: framing cannot be announced after the body"
AGAIN = "RFC 9112 9.3: the next request begins where the body ends"


def coded(value: str, body: str = "hello") -> bytes:
    """Return a request with another coding, and a length to fall back to."""
    return post(f"Transfer-Encoding: {value}", LENGTH, body=body)


def both(*fields: str, inner: str = SMUGGLED) -> bytes:
    """Return a request with another request after the last chunk and within the length."""
    body = "0\r\n\r\n" + inner
    return post(*(field.replace("LENGTH", str(len(body))) for field in fields), body=body)


TWO_CODINGS = ("Transfer-Encoding: chunked", "Transfer-Encoding: identity")
IN_CHUNK = "GET /smuggled HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n"

LENGTHS: tuple[Case, ...] = (
    refused("SMUG-DUPLICATE-CL", post(LENGTH, "Content-Length: 10", body="helloworld"), SEVERAL),
    passes("SMUG-CL-LEADING-ZEROS", length("005"), "RFC 9110 8.6: 1*DIGIT; the backend gets 5"),
    refused("SMUG-CL-NEGATIVE", length("-1"), DIGITS),
    passes("SMUG-CL-TRAILING-SPACE", length("5 "), "RFC 9110 5.5: whitespace around a value is not part of it"),
    passes("SMUG-CL-EXTRA-LEADING-SP", length("  5"), "RFC 9110 5.5: whitespace around a value is not part of it"),
    refused("SMUG-CL-COMMA-DIFFERENT", length("5, 10"), SEVERAL),
    refused("SMUG-CL-COMMA-SAME", length("5, 5"), SEVERAL),
    refused("SMUG-CL-COMMA-TRIPLE", length("5, 5, 5"), SEVERAL),
    refused("SMUG-CL-OCTAL", length("0o5"), DIGITS),
    refused("SMUG-CL-HEX-PREFIX", length("0x5"), DIGITS),
    refused("SMUG-CL-INTERNAL-SPACE", length("1 0", "hello12345"), DIGITS),
    refused("SMUG-CL-UNDERSCORE", length("1_0", "helloworld"), DIGITS),
    refused("SMUG-CL-NEGATIVE-ZERO", length("-0", ""), DIGITS),
    passes("SMUG-CL-DOUBLE-ZERO", length("00", ""), "RFC 9110 8.6: 1*DIGIT; the backend gets 0"),
    refused("a length with thousands of zeros", length("0" * 5000 + "5"), DIGITS),
    passes("SMUG-CL-LEADING-ZEROS-OCTAL", length("0200", "A" * 200), "RFC 9110 8.6: decimal, not octal"),
    refused("SMUG-DUPLICATE-CL-SMUGGLED-GET", post("Content-Length: 4", f"Content-Length: {len(SMUGGLED) + 4}", body="PING" + SMUGGLED), SEVERAL),
)

CODINGS: tuple[Case, ...] = (
    refused("SMUG-CL-TE-BOTH", post("Content-Length: 15", CHUNKED, body=HELLO), BOTH),
    refused("SMUG-TE-XCHUNKED", coded("xchunked"), CODING),
    refused("SMUG-TE-TRAILING-SPACE", coded("chunked "), BOTH),
    refused("SMUG-TE-SP-BEFORE-COLON", post("Transfer-Encoding : chunked", LENGTH, body="hello"), "RFC 9112 5.1: no space before the colon"),
    refused("SMUG-CLTE-PIPELINE", post("Content-Length: 4", CHUNKED, body="0\r\n\r\n"), BOTH),
    refused("SMUG-TECL-PIPELINE", post(CHUNKED, "Content-Length: 30", body="0\r\n\r\n"), BOTH),
    refused("SMUG-TE-DOUBLE-CHUNKED", coded("chunked, chunked"), CODING),
    refused("SMUG-TE-CASE-MISMATCH", coded("Chunked"), BOTH),
    refused("SMUG-TE-NOT-FINAL-CHUNKED", post("Transfer-Encoding: chunked, gzip", body="0\r\n\r\n"), CODING),
    refused("SMUG-TE-HTTP10", request("POST /x HTTP/1.0", CHUNKED, LENGTH, body="hello"), "RFC 9112 6.1: HTTP/1.0 has no codings"),
    refused("SMUG-TE-EMPTY-VALUE", coded(""), CODING),
    refused("SMUG-TE-LEADING-COMMA", coded(", chunked"), CODING),
    refused("SMUG-TE-TRAILING-COMMA", coded("chunked,"), CODING),
    refused("SMUG-TE-DUPLICATE-HEADERS", post(*TWO_CODINGS, LENGTH, body="hello"), CODING),
    refused("SMUG-TE-VTAB", coded("\x0bchunked"), CODING),
    refused("SMUG-TE-FORMFEED", coded("\x0cchunked"), CODING),
    refused("SMUG-TE-NULL", coded("chunked\0"), CODING),
    refused("SMUG-TE-IDENTITY", coded("identity"), CODING),
    passes("SMUG-TRANSFER_ENCODING", post("Transfer_Encoding: chunked", LENGTH, body="hello"), "names with `_` are dropped"),
    refused("SMUG-CHUNKED-WITH-PARAMS", coded("chunked;ext=val"), CODING),
    refused("SMUG-TE-OBS-FOLD", coded("\r\n chunked"), FOLD),
    refused("SMUG-TE-TAB-BEFORE-VALUE", post("Transfer-Encoding:\tchunked", LENGTH, body="hello"), BOTH),
    refused("SMUG-CLTE-CONN-CLOSE", post(LENGTH, CHUNKED, body="0\r\n\r\n") + get(), BOTH),
    refused("SMUG-TECL-CONN-CLOSE", post(CHUNKED, LENGTH, body="0\r\n\r\n") + get(), BOTH),
    refused("SMUG-CLTE-DESYNC", post("Content-Length: 6", CHUNKED, body="0\r\n\r\nX") + get(), BOTH),
    refused("SMUG-CLTE-SMUGGLED-GET", both("Content-Length: LENGTH", CHUNKED), BOTH),
    refused("SMUG-CLTE-SMUGGLED-GET-CL-PLUS", both("Content-Length: +LENGTH", CHUNKED), DIGITS),
    refused("SMUG-CLTE-SMUGGLED-GET-CL-NON-NUMERIC", both("Content-Length: LENGTHx", CHUNKED), DIGITS),
    refused("SMUG-CLTE-SMUGGLED-GET-TE-OBS-FOLD", both("Transfer-Encoding:\r\n chunked", "Content-Length: LENGTH"), FOLD),
    refused("SMUG-CLTE-SMUGGLED-HEAD", both("Content-Length: LENGTH", CHUNKED, inner="HEAD /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"), BOTH),
    refused("SMUG-CLTE-SMUGGLED-GET-TE-TRAILING-SPACE", both("Content-Length: LENGTH", CHUNKED + " "), BOTH),
    refused("SMUG-CLTE-SMUGGLED-GET-TE-LEADING-COMMA", both("Content-Length: LENGTH", "Transfer-Encoding: , chunked"), CODING),
    refused("SMUG-CLTE-SMUGGLED-GET-TE-CASE-MISMATCH", both("Content-Length: LENGTH", "Transfer-Encoding: Chunked"), BOTH),
    refused("SMUG-TE-DUPLICATE-HEADERS-SMUGGLED-GET", both(*TWO_CODINGS, "Content-Length: LENGTH"), CODING),
    refused("SMUG-TECL-SMUGGLED-GET", post(CHUNKED, "Content-Length: 4", body=f"{len(IN_CHUNK):x}\r\n{IN_CHUNK}\r\n0\r\n\r\n"), BOTH),
    refused("SMUG-TECL-DESYNC", post(CHUNKED, "Content-Length: 30", body="0\r\n\r\nX") + get(), BOTH),
    refused("SMUG-OPTIONS-TE-OBS-FOLD", request("OPTIONS /x HTTP/1.1", "Transfer-Encoding:\r\n chunked", LENGTH, body="hello") + get(), FOLD),
    refused("gzip and chunked", chunked(HELLO, "Transfer-Encoding: gzip"), CODING),
    refused("gzip, chunked", post("Transfer-Encoding: gzip, chunked", body=HELLO), CODING),
    refused("chunked in quotes", post('Transfer-Encoding: "chunked"', body=HELLO + SMUGGLED), CODING),
    passes("chunked in mixed case", post("TRANSFER-encoding: cHuNkEd", body=HELLO), "RFC 9112 7: codings ignore case"),
    refused("chunked twice", chunked(HELLO, CHUNKED), CODING),
    refused("a coding with a NUL in its name", post("Transfer-\0Encoding: chunked", body=HELLO), "RFC 9110 5.1: a name is a token"),
    refused("a coding after a bare CR", post("X: y\rTransfer-Encoding: chunked", body=HELLO + SMUGGLED), LINES),
    refused("a coding after a bare LF", post("X: y\nTransfer-Encoding: chunked", body=HELLO + SMUGGLED), LINES),
    passes("a length named as hop-by-hop", post("Connection: Content-Length", LENGTH, body="hello"), "RFC 9110 7.6.1: framing is never removed"),
    passes("a coding named as hop-by-hop", chunked(HELLO, "Connection: Transfer-Encoding"), "RFC 9110 7.6.1: framing is never removed"),
)

CHUNKS: tuple[Case, ...] = (
    refused("SMUG-CHUNK-BARE-SEMICOLON", chunked("5;\r\nhello\r\n0\r\n\r\n"), EXTENSION),
    refused("SMUG-CHUNK-EXT-INVALID-TOKEN", chunked("5;bad[=x\r\nhello\r\n0\r\n\r\n"), EXTENSION),
    refused("SMUG-CHUNK-UNDERSCORE", chunked("1_0\r\nhello world!!!!!\r\n0\r\n\r\n"), SIZE),
    refused("SMUG-CHUNK-HEX-PREFIX", chunked("0x5\r\nhello\r\n0\r\n\r\n"), SIZE),
    refused("SMUG-CHUNK-SIZE-PLUS", chunked("+5\r\nhello\r\n0\r\n\r\n"), SIZE),
    refused("SMUG-CHUNK-SIZE-TRAILING-OWS", chunked("5 \r\nhello\r\n0\r\n\r\n"), SIZE),
    refused("SMUG-CHUNK-LEADING-SP", chunked(" 5\r\nhello\r\n0\r\n\r\n"), SIZE),
    refused("SMUG-CHUNK-MISSING-TRAILING-CRLF", chunked("5\r\nhello0\r\n\r\n"), SIZE),
    refused("SMUG-CHUNK-EXT-LF", chunked("5;\nhello\r\n0\r\n\r\n"), LINES),
    refused("SMUG-CHUNK-SPILL", chunked("5\r\nhello!!\r\n0\r\n\r\n"), SIZE),
    refused("SMUG-CHUNK-LF-TERM", chunked("5\r\nhello\n0\r\n\r\n"), LINES),
    refused("SMUG-CHUNK-EXT-CTRL", chunked("5;\0ext\r\nhello\r\n0\r\n\r\n"), EXTENSION),
    refused("SMUG-CHUNK-EXT-CR", chunked("5;a\rX\r\nhello\r\n0\r\n\r\n"), EXTENSION),
    refused("SMUG-CHUNK-LF-TRAILER", chunked("5\r\nhello\r\n0\r\n\n"), LINES),
    refused("SMUG-CHUNK-NEGATIVE", chunked("-1\r\nhello\r\n0\r\n\r\n"), SIZE),
    refused("SMUG-CHUNK-BARE-CR-TERM", chunked("5\rhello\r\n0\r\n\r\n"), LINES),
    refused("SMUG-CHUNK-INVALID-SIZE-DESYNC", chunked("+0\r\n\r\nX") + get(), SIZE),
    refused("MAL-CHUNK-SIZE-OVERFLOW", chunked("FFFFFFFFFFFFFFFF0\r\nhello\r\n0\r\n\r\n"), SIZE),
    refused("no size at all", chunked("\r\nhello\r\n0\r\n\r\n"), SIZE),
    refused("a size that is not a number", chunked("five\r\nhello\r\n0\r\n\r\n"), SIZE),
    refused("a size of 2 to the 64th", chunked("10000000000000000\r\n" + SMUGGLED), SIZE),
    passes("a size with leading zeros", chunked("0005\r\nhello\r\n0\r\n\r\n"), "RFC 9112 7.1: 1*HEXDIG"),
    passes("a last chunk of many zeros", chunked("5\r\nhello\r\n000\r\n\r\n"), "RFC 9112 7.1: last-chunk is 1*`0`"),
    refused("an LF after the size", chunked("5\nhello\r\n0\r\n\r\n"), LINES),
    refused("an LF after the last size", chunked("5\r\nhello\r\n0\n\r\n" + SMUGGLED), LINES),
    refused("an LF as the end", chunked("5\r\nhello\r\n0\r\n\n" + SMUGGLED), LINES),
    refused("a CR as the end", chunked("5\r\nhello\r\n0\r\n\rX" + SMUGGLED), LINES),
    refused("two bytes after the chunk that are not a line end", chunked("5\r\nhelloXX0\r\n\r\n" + SMUGGLED), SIZE),
    passes("a quoted extension with an escaped quote", chunked('5;a="\\"x;y"\r\nhello\r\n0\r\n\r\n'), EXTENSION),
    refused("a line end within a quoted extension", chunked('5;a="\r\nhello\r\n0\r\n\r\n' + SMUGGLED), EXTENSION),
    refused("an LF within an extension", chunked("5;a\nhello\r\n0\r\n\r\n" + SMUGGLED), EXTENSION),
    refused("an LF within a quoted extension", chunked('5;a="\n"\r\nhello\r\n0\r\n\r\n' + SMUGGLED), EXTENSION),
)

TRAILERS: tuple[Case, ...] = (
    passes("SMUG-TRAILER-HOST", chunked("5\r\nhello\r\n0\r\nHost: evil.example.com\r\n\r\n"), TRAILER),
    passes("SMUG-TRAILER-AUTH", chunked("5\r\nhello\r\n0\r\nAuthorization: Bearer evil\r\n\r\n"), TRAILER),
    passes("SMUG-TRAILER-CONTENT-TYPE", chunked("5\r\nhello\r\n0\r\nContent-Type: text/evil\r\n\r\n"), TRAILER),
    passes("COMP-CHUNKED-TRAILER-VALID", chunked("5\r\nhello\r\n0\r\nX-Checksum: abc\r\n\r\n"), TRAILER),
    refused("SMUG-TRAILER-CL", chunked("5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n"), FRAMING_TRAILER),
    refused("SMUG-TRAILER-TE", chunked(f"5\r\nhello\r\n0\r\n{CHUNKED}\r\n\r\n"), FRAMING_TRAILER),
    refused("a trailer without a colon", chunked("5\r\nhello\r\n0\r\nno colon\r\n\r\n" + SMUGGLED), TRAILER),
    refused("a space before the colon of a trailer", chunked("5\r\nhello\r\n0\r\nX : y\r\n\r\n" + SMUGGLED), TRAILER),
    refused("a trailer that ends with LF", chunked("5\r\nhello\r\n0\r\nX: y\n\r\n" + SMUGGLED), LINES),
    refused("a folded trailer", chunked("5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n" + SMUGGLED), FOLD),
)

PREFIX = "GET /swallowed HTTP/1.1\r\nX: "
BODIES: tuple[Case, ...] = (
    passes("SMUG-EXPECT-100-CL", post(LENGTH, "Expect: 100-continue", body="hello"), AGAIN),
    passes("SMUG-HEAD-CL-BODY", request("HEAD /x HTTP/1.1", LENGTH, body="hello"), AGAIN),
    passes("SMUG-OPTIONS-CL-BODY", request("OPTIONS /x HTTP/1.1", LENGTH, body="hello"), AGAIN),
    passes("SMUG-OPTIONS-CL-BODY-DESYNC", request("OPTIONS /x HTTP/1.1", LENGTH, body="hello") + get(), AGAIN, "OPTIONS /x", "GET /x"),
    passes("SMUG-GET-CL-BODY-DESYNC", get(LENGTH, body="hello") + get(), AGAIN, "GET /x", "GET /x"),
    passes("SMUG-GET-CL-PREFIX-DESYNC", get(f"Content-Length: {len(PREFIX)}", body=PREFIX) + get(target="/y"), AGAIN, "GET /x", "GET /y"),
    passes("SMUG-EXPECT-100-CL-DESYNC", post(LENGTH, "Expect: 100-continue", body="hello") + get(), AGAIN, "POST /x", "GET /x"),
    Case("SMUG-CL0-BODY-POISON", length("0", "X") + get(), (200, 400), ("POST /x",), "closed", AGAIN),
    passes("SMUG-PIPELINE-SAFE", get() + get(target="/y"), AGAIN, "GET /x", "GET /y"),
)

CASES = (*LENGTHS, *CODINGS, *CHUNKS, *TRAILERS, *BODIES)
