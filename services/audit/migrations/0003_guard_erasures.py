"""Allow a part of a record to be cleared only as a whole, by a later erasure of an account in the record."""

from alembic import op

revision = "0003"
down_revision = "0002"

_PARTS = {"origin": ("ip", "user_agent"), "details": ("metadata",)}


def upgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    same = "IS" if is_sqlite else "IS NOT DISTINCT FROM"
    allowed = [f"NEW.seq {same} OLD.seq", f"NEW.received {same} OLD.received"]
    allowed += [f"(({_untouched(part, same)}) OR ({_erased(part)}))" for part in _PARTS]
    is_allowed = " AND ".join(allowed)
    if is_sqlite:
        op.execute("DROP TRIGGER personal_refuse_update")
        op.execute(
            f"CREATE TRIGGER personal_refuse_update BEFORE UPDATE ON personal WHEN NOT ({is_allowed}) "
            "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        )
        return
    op.execute("DROP TRIGGER personal_refuse_update ON personal")
    # A function, because the condition of a trigger cannot query other tables.
    op.execute(
        "CREATE OR REPLACE FUNCTION refuse_emptying() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN IF ({is_allowed}) IS NOT TRUE THEN "
        "RAISE EXCEPTION 'the audit log is append-only'; END IF; RETURN NEW; END $$"
    )
    op.execute(
        "CREATE TRIGGER personal_refuse_update BEFORE UPDATE ON personal FOR EACH ROW "
        "EXECUTE FUNCTION refuse_emptying()"
    )


def _untouched(part: str, same: str) -> str:
    columns = (*_PARTS[part], f"{part}_salt", f"{part}_erased_by")
    return " AND ".join(f"NEW.{column} {same} OLD.{column}" for column in columns)


def _erased(part: str) -> str:
    emptied = " AND ".join(f"NEW.{column} IS NULL" for column in (*_PARTS[part], f"{part}_salt"))
    accounts = "about.user_id, about.resource" if part == "details" else "about.user_id"
    is_about = f"about.seq = NEW.seq AND about.received = NEW.received AND said.resource IN ({accounts})"
    said = f"said.seq = NEW.{part}_erased_by AND said.action = 'PERSON_ERASED' AND said.actor = 'log'"
    explained = f"SELECT 1 FROM records AS about, records AS said WHERE {is_about} AND {said}"  # noqa: S608
    return (
        f"{emptied} AND OLD.{part}_salt IS NOT NULL AND OLD.{part}_erased_by IS NULL"
        f" AND NEW.{part}_erased_by > NEW.seq AND EXISTS ({explained})"
    )
