"""`python -m gatehouse.planning ROOT`: reads the settings of all programs, and prints the plan as JSON."""

import os
import sys
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from gatehouse import control, programs
from gatehouse.backup import NotDone, retention
from gatehouse.plan import Backups, Logging, Plan, Planned
from gatehouse.programs import Program
from gatehouse.screen import OURS
from shared.process.settings import ProcessSettings, SettingsError, exit_on_bad_settings
from shared.work.cron import Cron
from shared.work.cron_setting import CronSetting


class Settings(ProcessSettings):
    """The settings of the launcher."""

    service: ClassVar[str] = OURS

    log_file: Path | None = None
    log_file_bytes_max: int = Field(default=50 * 1024 * 1024, ge=64 * 1024)
    log_files_kept: int = Field(default=5, ge=0, le=100)
    backup_schedule: CronSetting = ""
    backup_time_zone: str = "UTC"
    backup_keep: str = "7d,4w,6m"
    backup_passphrase: SecretStr | None = None

    @field_validator("backup_keep")
    @classmethod
    def _rules(cls, rules: str) -> str:
        try:
            retention.parsed(rules)
        except NotDone as error:
            raise ValueError("must be rules such as 7d,4w,6m") from error
        return rules

    @field_validator("backup_time_zone")
    @classmethod
    def _known(cls, zone: str) -> str:
        Cron("0 0 * * *", zone)
        return zone

    @model_validator(mode="after")
    def _sealed(self) -> Self:
        if self.backup_schedule and not self.backup_passphrase:
            raise ValueError(
                "BACKUP_SCHEDULE needs BACKUP_PASSPHRASE, which seals the secrets in the backups"
            )
        return self


def plan(root: Path) -> Plan:
    """Read the environment; SettingsFaults lists what is wrong with it."""
    found = programs.load(root, os.environ)
    own = Settings.load()
    file = str(own.log_file) if own.log_file else None
    return Plan(
        [_planned(program) for program in found],
        programs.without_effect(found, os.environ),
        Logging(own.log_format, file, own.log_file_bytes_max, own.log_files_kept),
        Backups(own.backup_schedule, own.backup_keep, own.backup_time_zone),
        str(control.path_in(own.data_dir)),
    )


def _planned(program: Program) -> Planned:
    settings = program.settings
    return Planned(
        program.name,
        program.module,
        dict(program.environment),
        settings.host,
        settings.port,
        settings.log_format,
        settings.notice(),
        settings.alone,
    )


if __name__ == "__main__":
    try:
        sys.stdout.write(plan(Path(sys.argv[1])).as_json())
    except SettingsError as error:
        exit_on_bad_settings(error)
