"""Sealed values open only with the key and only in their place; they survive a key rotation."""

import base64
import multiprocessing
import os
import re
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError
from sqlalchemy import Column, MetaData, String, Table, Text, event, insert, select, update
from structlog.testing import capture_logs

from shared.data import sealed
from shared.data.database import Database
from shared.data.sealed import KeyMissing, SealBroken, SealedColumn, Sealer, SealingSettings
from shared.work.duties import Duty
from tests.shared.work.test_documentation import example

OLD, NEW = "0d3f71c28ab94e6650c1f2d79e83ab41", "9b7a3e5510cf48d2a64d8e1773f02bc6"
METADATA = MetaData()
ACCOUNTS = Table(
    "accounts",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("secret", Text),
    Column("other", Text),
)
PLACE = ("accounts", "secret", "7")


class Settings(SealingSettings):
    service: ClassVar[str] = "billing"


def sealer(*secrets: str, service: str = "billing") -> Sealer:
    return Sealer(service, secrets)


def column(*secrets: str) -> SealedColumn:
    return SealedColumn(sealer(*secrets), ACCOUNTS.c.secret)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    METADATA.create_all(opened.engine)
    yield opened
    opened.close()


def stored(database: Database) -> dict[str, str]:
    with database.transaction(write=False) as session:
        rows = session.connection().execute(select(ACCOUNTS.c.id, ACCOUNTS.c.secret))
        return {row.id: row.secret for row in rows}


def keep(database: Database, values: dict[str, str | None], *secrets: str) -> None:
    sealing = column(*secrets)
    rows = [{"id": key, "secret": value and sealing.seal(key, value)} for key, value in values.items()]
    with database.transaction() as session:
        session.connection().execute(insert(ACCOUNTS), rows)


class TestSealer:
    @given(st.text(max_size=200), st.lists(st.text(max_size=20), max_size=4))
    def test_value_can_be_opened_in_its_place(self, value: str, place: list[str]) -> None:
        one = sealer(NEW)

        assert one.open(one.seal(value, *place), *place) == value

    def test_sealed_value_hides_the_value_and_differs_every_time(self) -> None:
        first, second = (sealer(NEW).seal("tomorrow", *PLACE) for _ in range(2))

        assert first != second
        assert "tomorrow" not in base64.urlsafe_b64decode(first.split(".")[2] + "==").decode("latin-1")

    @pytest.mark.parametrize(
        "place",
        [
            ("accounts", "secret", "8"),
            ("accounts", "other", "7"),
            ("others", "secret", "7"),
            ("accounts", "secret7", ""),
            ("accounts", "secret"),
            ("accounts", "secret", "7", ""),
            ('accounts","secret', "7"),
            (),
        ],
    )
    def test_value_cannot_be_opened_in_another_place(self, place: tuple[str, ...]) -> None:
        value = sealer(NEW).seal("tomorrow", *PLACE)

        with pytest.raises(SealBroken):
            sealer(NEW).open(value, *place)

    def test_value_needs_the_key_it_was_sealed_with(self) -> None:
        value = sealer(OLD).seal("tomorrow", *PLACE)

        with pytest.raises(KeyMissing, match=r"the key [0-9a-f]{16} is in neither"):
            sealer(NEW).open(value, *PLACE)

    def test_another_service_with_the_same_secret_cannot_open_it(self) -> None:
        value = sealer(NEW).seal("tomorrow", *PLACE)

        with pytest.raises(KeyMissing):
            sealer(NEW, service="support").open(value, *PLACE)

    def test_value_with_the_id_of_another_key_is_refused(self) -> None:
        value, other = sealer(OLD).seal("tomorrow", *PLACE), sealer(NEW)

        with pytest.raises(SealBroken):
            other.open(other.prefix + value.split(".")[2], *PLACE)

    def test_truncated_or_extended_value_is_refused(self) -> None:
        value = sealer(NEW).seal("tomorrow", *PLACE)

        for length in range(len(value)):
            with pytest.raises(SealBroken):
                sealer(NEW).open(value[:length], *PLACE)
        for end in ("A", "AAAA", "=", "\n", ".", "é"):
            with pytest.raises(SealBroken):
                sealer(NEW).open(value + end, *PLACE)

    def test_every_changed_bit_is_refused(self) -> None:
        one = sealer(NEW)
        content = bytearray(base64.urlsafe_b64decode(one.seal("now", *PLACE).split(".")[2] + "=="))
        for bit in range(len(content) * 8):
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << bit % 8
            with pytest.raises(SealBroken):
                one.open(one.prefix + base64.urlsafe_b64encode(changed).decode().rstrip("="), *PLACE)

    def test_value_of_the_previous_key_can_be_opened_and_new_ones_use_the_newest(self) -> None:
        both = sealer(NEW, OLD)

        assert both.open(sealer(OLD).seal("tomorrow", *PLACE), *PLACE) == "tomorrow"
        assert sealer(NEW).open(both.seal("tomorrow", *PLACE), *PLACE) == "tomorrow"

    def test_value_that_is_too_long_is_refused(self) -> None:
        sealer(NEW).seal("x" * sealed.VALUE_BYTES_MAX, *PLACE)

        with pytest.raises(ValueError, match="at most 65536 bytes"):
            sealer(NEW).seal("x" * (sealed.VALUE_BYTES_MAX + 1), *PLACE)

    def test_value_sealed_by_the_first_release_can_still_be_opened(self) -> None:
        value = "s1.b07ddcfe68c8145f.NrbtFCe15oGrGnW6sn3ZOpXaUOXUhpIGV3dzJWqIOfzUth5X"

        assert sealer(NEW).open(value, *PLACE) == "tomorrow"


class TestSettings:
    def test_development_generates_a_secret_and_keeps_it(self, tmp_path: Path) -> None:
        value = Settings(data_dir=tmp_path).sealer().seal("tomorrow", *PLACE)

        assert Settings(data_dir=tmp_path).sealer().open(value, *PLACE) == "tomorrow"

    def test_previous_secret_can_open_values(self, tmp_path: Path) -> None:
        settings = Settings(data_dir=tmp_path, key_secret=SecretStr(NEW), key_secret_previous=SecretStr(OLD))

        assert settings.sealer().open(sealer(OLD).seal("tomorrow", *PLACE), *PLACE) == "tomorrow"

    @pytest.mark.parametrize("name", ["key_secret", "key_secret_previous"])
    def test_weak_secret_is_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ValidationError, match="at least 32 random characters"):
            Settings(data_dir=tmp_path, **{name: SecretStr("short")})  # type: ignore[arg-type]

    def test_production_needs_a_secret(self, tmp_path: Path) -> None:
        with pytest.raises(ValidationError, match="at least 32 random characters"):
            Settings(data_dir=tmp_path, environment="production", internal_secret=SecretStr(OLD))


class TestColumn:
    def test_value_copied_to_another_row_is_refused(self, database: Database) -> None:
        keep(database, {"1": "of one", "2": "of two"}, NEW)
        with database.transaction() as session:
            copied = update(ACCOUNTS).where(ACCOUNTS.c.id == "2").values(secret=stored(database)["1"])
            session.connection().execute(copied)
        rows = stored(database)

        assert column(NEW).open("1", rows["1"]) == "of one"
        with pytest.raises(SealBroken):
            column(NEW).open("2", rows["2"])

    def test_renewal_reseals_everything_with_the_newest_key(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sealed, "RESEALED_AT_ONCE", 3)
        values: dict[str, str | None] = {f"{number:02}": f"value {number}" for number in range(10)}
        keep(database, {**values, "none": None}, OLD)
        with capture_logs() as logs:
            column(NEW, OLD).renew(database, lambda: False)
            once = stored(database)
            column(NEW, OLD).renew(database, lambda: False)

        assert {key: column(NEW).open(key, once[key]) for key in values} == values
        assert stored(database) == once
        [line] = logs
        assert (line["event"], line["renewed"], line["is_all"]) == ("sealed_values_renewed", 10, True)

    def test_renewal_skips_a_value_that_it_cannot_open(self, database: Database) -> None:
        keep(database, {"1": "lost"}, "5c0e8841d2f94bb7a3e6b1907d2f6ac8")
        keep(database, {"2": "kept"}, OLD)
        lost = stored(database)["1"]
        with capture_logs() as logs:
            column(NEW, OLD).renew(database, lambda: False)

        assert stored(database)["1"] == lost
        assert column(NEW).open("2", stored(database)["2"]) == "kept"
        assert [line.get("row_id") for line in logs] == ["1", None]

    def test_renewal_does_not_undo_a_change_made_meanwhile(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keep(database, {"1": "before"}, OLD)
        one = column(NEW, OLD)
        opening = one.open

        def open_and_change(row_id: str, value: str) -> str:
            opened = opening(row_id, value)
            changed = update(ACCOUNTS).values(secret=one.seal("1", "after"))
            session.connection().execute(changed)
            return opened

        monkeypatch.setattr(one, "open", open_and_change)
        with database.transaction() as session:
            assert one._renew_some(session, "") == ("1", 0)
        assert column(NEW).open("1", stored(database)["1"]) == "after"

    def test_renewal_stops_when_told_to(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sealed, "RESEALED_AT_ONCE", 1)
        keep(database, {"1": "one", "2": "two"}, OLD)
        answers = iter([False, True])
        column(NEW, OLD).renew(database, lambda: next(answers))

        prefix = sealer(NEW).prefix
        assert [value.startswith(prefix) for _, value in sorted(stored(database).items())] == [True, False]

    @pytest.mark.parametrize("deaths", [1, 2, 5])
    def test_every_value_can_be_opened_after_the_renewal_was_killed(
        self, database: Database, deaths: int
    ) -> None:
        values: dict[str, str | None] = {f"{number:02}": f"value {number}" for number in range(9)}
        keep(database, values, OLD)
        url = database.url.render_as_string(hide_password=False)
        process = multiprocessing.get_context("spawn").Process(target=renew_and_die, args=(url, deaths))
        process.start()
        process.join(60)

        assert process.exitcode == -signal.SIGKILL
        rows = stored(database)
        assert {key: column(NEW, OLD).open(key, rows[key]) for key in values} == values
        renewed = sum(value.startswith(sealer(NEW).prefix) for value in rows.values())
        assert renewed == (deaths - 1) // 2 * 2  # both of a batch, or neither


def renew_and_die(url: str, deaths: int) -> None:
    """Renew in batches of two, and die right after one of the updates."""
    sealed.RESEALED_AT_ONCE = 2
    database, updates = Database(url), iter(range(1, 100))

    def die(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE accounts") and next(updates) == deaths:
            os.kill(os.getpid(), signal.SIGKILL)

    for engine in {database.engine, database._writing}:
        event.listen(engine, "after_cursor_execute", die)
    column(NEW, OLD).renew(database, lambda: False)


def test_example_of_sealed_values_stores_and_renews(
    database: Database, make_settings: Callable[..., Any], tmp_path: Path
) -> None:
    names: dict[str, Any] = {
        "SealingSettings": SealingSettings,
        "settings": Settings(data_dir=tmp_path),
        "SealedColumn": SealedColumn,
        "ACCOUNTS": ACCOUNTS,
        "account_id": "1",
        "database": database,
        "insert": insert,
        "select": select,
        "Duty": Duty,
        "partial": partial,
        "ClassVar": ClassVar,
    }
    exec(example("sealed.md"), names)
    names["renewing"].work(lambda: False)

    assert names["secret"] == "AKIA…"
    assert re.fullmatch(r"s1\.[0-9a-f]{16}\.[\w-]+", stored(database)["1"])
