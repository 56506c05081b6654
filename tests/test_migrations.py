"""Migrations since the last release expand, or say that they contract (docs/upgrade.md)."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.releases import ROOT, files_of_last_release

NARROWS = {"drop_column", "drop_table", "alter_column", "rename_table"}
CONSTRAINS = {"create_check_constraint", "create_unique_constraint", "create_foreign_key", "create_index"}
STATEMENT = re.compile(r"\b(ALTER|DROP(?!\s+INDEX))\b", re.IGNORECASE)
EXPANDS = "# expands: "  # and why, in the lines of a statement that only looks as if it narrowed
PATTERN = "services/*/migrations/[0-9]*.py"


def narrowing(source: str) -> Iterator[str]:
    """Yield the calls that break a program which does not know the migration."""
    calls = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    new = {ast.unparse(call.args[0]) for call in calls if _name(call) == "create_table"}
    for call in calls:
        name, told = _name(call), ast.unparse(call)
        is_required = name == "add_column" and "nullable=False" in told and "server_default" not in told
        if (
            name in NARROWS
            or is_required
            or (name in CONSTRAINS and _constrains(call, new))
            or (name == "execute" and _alters(call, source))
        ):
            yield name


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _constrains(call: ast.Call, new: set[str]) -> bool:
    """Whether what older programs write to the table may be refused. They do not write to a new one."""
    if _name(call) == "create_index" and "unique=True" not in ast.unparse(call):
        return False
    is_in_batch = ast.unparse(call.func).partition(".")[0] != "op"
    return is_in_batch or not call.args[1:] or ast.unparse(call.args[1]) not in new


def _alters(call: ast.Call, source: str) -> bool:
    """Whether the statement alters or drops something; if it is not written in the call, look everywhere."""
    is_told = any(isinstance(node, ast.Constant) and isinstance(node.value, str) for node in ast.walk(call))
    lines = "\n".join(source.splitlines()[call.lineno - 1 : call.end_lineno])
    return EXPANDS not in lines and STATEMENT.search(lines if is_told else source) is not None


def faults(source: str) -> list[str]:
    return [] if "\nCONTRACTS = " in source else list(narrowing(source))


def test_migrations_since_the_last_release_only_expand_or_say_that_they_contract() -> None:
    released = files_of_last_release(PATTERN)
    services = {name.split("/")[1] for name in released}
    found = {
        name: what
        for file in ROOT.glob(PATTERN)
        if (name := str(file.relative_to(ROOT))) not in released
        and name.split("/")[1] in services  # nothing older uses the tables of a new service
        and (what := faults(file.read_text()))
    }
    assert released
    assert found == {}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("op.drop_column('orders', 'note')", ["drop_column"]),
        ("op.alter_column('orders', 'note', nullable=False)", ["alter_column"]),
        ("op.add_column('orders', sa.Column('note', sa.Text, nullable=False))", ["add_column"]),
        ("op.add_column('orders', sa.Column('note', sa.Text, nullable=False, server_default=''))", []),
        ("op.create_table('notes', sa.Column('id', sa.Text, nullable=False))", []),
        ("op.drop_index('ix_orders_note', 'orders')", []),
        ("op.drop_table('notes')\nCONTRACTS = '0028'", []),
        ("op.create_unique_constraint('uq', 'orders', ['note'])", ["create_unique_constraint"]),
        ("batch.create_unique_constraint('uq', ['note'])", ["create_unique_constraint"]),
        ("op.create_foreign_key('fk', 'orders', 'users', ['owner'], ['id'])", ["create_foreign_key"]),
        ("op.create_index('ux', 'orders', ['note'], unique=True)", ["create_index"]),
        ("op.create_index('ix', 'orders', ['note'])", []),
        ("op.create_table('notes')\nop.create_index('ux', 'notes', ['id'], unique=True)", []),
        ("op.execute('ALTER TABLE orders DROP COLUMN note')", ["execute"]),
        ("op.get_bind().execute(sa.text(f'drop table {name}'))", ["execute"]),
        ("SQL = 'DROP TABLE notes'\nop.execute(SQL)", ["execute"]),
        ("op.execute(  # expands: nullable\n'ALTER TABLE orders ADD COLUMN note TEXT')", []),
        ("op.execute('DROP INDEX ix_orders_note')", []),
        ("op.execute('UPDATE orders SET note = NULL')", []),
    ],
)
def test_what_contracts_is_found(line: str, found: list[str]) -> None:
    assert faults(line) == found
