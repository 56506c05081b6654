"""Secrets are never compared with `==`, whose duration reveals how many characters were right."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.test_architecture import ROOT

_SECRET = re.compile(
    r"(secret|token|code|hash|nonce|state|signature|verifier|challenge|cookie|password|digest)s?(_hash)?$"
)
# Nobody can guess a secret by means of these comparisons.
HARMLESS = {
    "at_hash != _at_hash(expected.access_token, algorithm)",  # of a signed token; both are known to its owner
    "account.password_hash != before",  # both from the database: whether the row has changed meanwhile
    "account.password_hash != candidate.password_hash",  # the same
    "password != DEFAULT_ADMIN_PASSWORD",  # public
    "table.digest != before.digest",  # whether a file has changed
    "path.encode() == WELL_KNOWN",  # a path
    "keys.digest != self._gateway.api_keys.digest",  # the same
}


def name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        return name_of(node.func)
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def comparisons_of_secrets(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare) or not isinstance(node.ops[0], ast.Eq | ast.NotEq):
            continue
        sides, text = [node.left, *node.comparators], ast.unparse(node)
        is_in_database = ".c." in text  # where hashes are looked up, never secrets
        is_constant = any(isinstance(side, ast.Constant) for side in sides)
        if not is_in_database and not is_constant and any(_SECRET.search(name_of(side)) for side in sides):
            yield text


def test_secrets_are_compared_in_constant_time_J6() -> None:
    found: set[str] = set()
    for folder in ("services/auth", "shared/identity", "gateway"):
        for file in (ROOT / folder).rglob("*.py"):
            found |= {*comparisons_of_secrets(Path(file).read_text())}

    assert found == HARMLESS


def test_comparison_of_a_secret_is_found() -> None:
    assert [*comparisons_of_secrets("if given.state == expected_state: pass")]
    assert not [*comparisons_of_secrets("ok = hmac.compare_digest(a.token, b.token)")]
    assert not [*comparisons_of_secrets("where(table.c.token_hash == hash_of(token))")]
