"""Every setting, read from the environment and validated together."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from croniter import croniter
from pydantic import (
    BaseModel,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from include.backup.backup_id import UNNAMED, Backup
from include.backup.errors import SettingsError
from include.backup.masking import MASK, SECRET_URLS, mask
from include.backup.setting_types import (
    AbsolutePath,
    Address,
    Addresses,
    CopyUrl,
    Cron,
    CronOrOff,
    Days,
    Hours,
    LinkBase,
    Minutes,
    Months,
    MonthsOrNone,
    Port,
    Positive,
    PublicKeys,
    SecretUrl,
    Timezone,
    Token,
    WeeksOrNone,
    secret_url,
)

if TYPE_CHECKING:
    from typing_extensions import Self

PACKAGED_SCOPE_FILE = Path(__file__).resolve().parent.parent / "scope.yaml"
DEFAULT_CONNECTION = "smart_ai_hub"
WORKING_DAY = datetime(2026, 1, 5, 12, tzinfo=timezone.utc)  # on which most schedules have slots; no clock changes
BYTES_PER_MB = 1024 * 1024
SECRET_VARIABLES = {"POSTGRES_PASSWORD", "SMTP_PASS", "BACKUP_METRICS_TOKEN", *SECRET_URLS}
# Public keys: but a private one may be there by mistake, of any form.
NEVER_SHOWN = SECRET_VARIABLES | {"BACKUP_AGE_RECIPIENTS"}
# What no single backup can have for itself: the server's and the package's own, and secrets.
OF_ALL_BACKUPS = SECRET_VARIABLES | {
    *("POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_DB", "POSTGRES_USER"),
    *("SMTP_HOST", "SMTP_PORT", "SMTP_USER", "SMTP_FROM", "SMTP_ALLOW_PLAINTEXT"),
    *("BACKUP_DIR", "BACKUP_SCOPE_FILE", "BACKUP_LOG_FILE", "BACKUP_LOG_FORMAT", "BACKUP_LINK_BASE_URL"),
}


class SourceSettings(BaseSettings):
    """
    Where the rows are and which are taken: all that `python -m include.backup.scope` needs, and nothing of Airflow.

    Every field is the environment variable of the same name in capitals.
    """

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)

    postgres_host: str = "localhost"
    postgres_port: Port = 5432
    postgres_db: str = "smart_ai_hub"
    postgres_user: str | None = None
    postgres_password: SecretStr | None = None

    backup_timezone: Timezone = "UTC"
    backup_scope_file: AbsolutePath | None = None
    backup_window_months: Months = 3

    @property
    def scope_file(self) -> Path:
        """The scope file in use: the one set, otherwise the one in the package."""
        return self.backup_scope_file or PACKAGED_SCOPE_FILE


class MetricsSettings(BaseSettings):
    """What the metrics need to know who asks, whatever the other settings are like."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)

    backup_metrics_token: Token | None = None


class Settings(SourceSettings, MetricsSettings):
    """
    The settings of one backup. Every field is the environment variable of the same name in capitals.

    Sizes are in MB of 1,048,576 bytes. The variables of PostgreSQL and SMTP feed the Airflow connections
    `smart_ai_hub` and `smtp_default`; in a backup the core never reads them.
    Source: specs/011-automated-backup/spec.md, the settings table.
    """

    smtp_host: str | None = None
    smtp_port: Port = 587
    smtp_user: str | None = None
    smtp_pass: SecretStr | None = None
    smtp_from: Address | None = None
    smtp_allow_plaintext: bool = False

    _backup: Backup = PrivateAttr(default=UNNAMED)

    backup_connection: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=200)] = DEFAULT_CONNECTION
    backup_pool: Annotated[str, Field(min_length=1, max_length=256)] = "default_pool"

    admin_emails: Addresses

    backup_schedule: Cron = "0 2 * * *"
    backup_dir: AbsolutePath = Path("/backups")
    backup_group: str | None = None
    backup_config_dir: AbsolutePath = Path("/config")
    backup_parallel: Annotated[int, Field(ge=1, le=16)] = 2
    backup_max_mb_per_second: Annotated[int, Field(ge=0)] = 0

    backup_min_size_mb: Annotated[int, Field(ge=0)] = 1
    backup_max_size_mb: Positive = 100
    backup_attachment_max_mb: Annotated[int, Field(ge=0)] = 25
    backup_link_base_url: LinkBase | None = None
    backup_link_days: Days = 7

    backup_retention_days: Days = 30
    backup_retention_min_keep: Positive = 7
    backup_retention_weeks: WeeksOrNone = 0
    backup_retention_months: MonthsOrNone = 0
    backup_max_age_hours: Hours = 25

    backup_checkpoint_schedule: CronOrOff = None
    backup_checkpoint_keep_hours: Hours = 24
    backup_checkpoint_max_age_minutes: Minutes = 30

    backup_copy_url: CopyUrl | None = None
    backup_copy_retention_days: Annotated[int, Field(ge=0, le=36500)] = 90

    backup_log_file: AbsolutePath = Path("/var/log/backup.log")
    backup_log_format: Literal["text", "json"] = "text"
    backup_heartbeat_url: SecretUrl | None = None

    backup_drill: Literal["always", "weekly", "monthly", "off"] = "always"

    backup_age_recipients: PublicKeys = None
    backup_age_identity_file: AbsolutePath | None = None
    backup_require_encryption: bool = False

    backup_deadline_minutes: Positive = 10
    backup_slack_webhook_url: SecretUrl | None = None

    backup_retry_delay_seconds: Positive = 60
    backup_run_timeout_minutes: Positive = 60

    @property
    def backup(self) -> Backup:
        """The backup whose settings these are."""
        return self._backup

    @property
    def keep(self) -> timedelta:
        """How long every archive is kept."""
        if self.backup.is_checkpoints:
            return timedelta(hours=self.backup_checkpoint_keep_hours)
        return timedelta(days=self.backup_retention_days)

    @property
    def max_age(self) -> timedelta:
        """How old the newest archive may be."""
        if self.backup.is_checkpoints:
            return timedelta(minutes=self.backup_checkpoint_max_age_minutes)
        return timedelta(hours=self.backup_max_age_hours)

    def of(self, backup: Backup) -> Self:
        """Return these settings as those of a backup."""
        settings = self.model_copy()
        settings._backup = backup  # noqa: SLF001 - its own
        return settings

    @field_validator("backup_copy_url")
    @classmethod
    def _copy_is_elsewhere(cls, value: str | None, info: ValidationInfo) -> str | None:
        backup_dir = info.data.get("backup_dir")
        copy_dir = Path((value or "").removeprefix("file://"))
        if backup_dir is not None and (copy_dir == backup_dir or backup_dir in copy_dir.parents):
            raise ValueError(f"a copy within BACKUP_DIR={backup_dir} is none; expected another disk or place")
        return value

    @field_validator("backup_checkpoint_max_age_minutes")
    @classmethod
    def _checkpoints_are_in_time(cls, value: int, info: ValidationInfo) -> int:
        schedule = info.data.get("backup_checkpoint_schedule")
        if schedule:
            slots = croniter(schedule, WORKING_DAY)
            minutes = -(slots.get_next(float) - slots.get_next(float)) / 60
            if value <= minutes:
                raise ValueError(
                    f"not more than the {minutes:.0f} minutes from slot to slot of BACKUP_CHECKPOINT_SCHEDULE="
                    f"{schedule!r}: every checkpoint would be too old before the next; expected two slots or more"
                )
        return value

    @field_validator("backup_max_size_mb")
    @classmethod
    def _limits_in_order(cls, value: int, info: ValidationInfo) -> int:
        lower = info.data.get("backup_min_size_mb")
        if lower is not None and lower >= value:
            raise ValueError(f"BACKUP_MIN_SIZE_MB={lower} is not below BACKUP_MAX_SIZE_MB={value}")
        return value


SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def load_settings() -> Settings:
    """
    Read the settings from the environment: those of the backup without an id, and what others begin with.

    Raises:
        SettingsError: One line for each wrong variable: its name, its value (never a secret's) and what is
            expected.
    """
    return _load(Settings)


def load_usable_settings() -> Settings:
    """
    Read the settings with the default in place of each wrong value: for whoever reports that they are wrong.

    Raises:
        SettingsError: If it is not even known to whom, or defaults do not mend it.
    """
    try:
        return Settings()
    except ValidationError as error:
        fields = {name: Settings.model_fields[name] for name in _wrong(error)}
    return _load(Settings, **{name: f.get_default() for name, f in fields.items() if not f.is_required()})


def settings_with(values: Mapping[str, str], environment: Settings) -> Settings:
    """Return the environment's settings with these, by the variables' names. Raises as `load_settings`."""
    try:
        return _changed(values, environment)
    except ValidationError as error:
        raise SettingsError("wrong settings: " + "; ".join(map(_describe, error.errors()))) from None


def usable_settings_with(values: Mapping[str, str], environment: Settings) -> Settings:
    """Return the environment's settings with those of these that are right. Raises as `load_settings`."""
    try:
        return _changed(values, environment)
    except ValidationError as error:
        wrong = _wrong(error)
    return settings_with({name: value for name, value in values.items() if name.lower() not in wrong}, environment)


def _changed(values: Mapping[str, str], environment: Settings) -> Settings:
    # Not Settings(), which reads the environment anew: a hundred times the time, and there may be hundreds of backups.
    settings = Settings.__new__(Settings)
    known = {name: getattr(environment, name) for name in environment.model_fields_set}
    BaseModel.__init__(settings, **known | {name.lower(): value for name, value in values.items()})
    return settings


def _wrong(error: ValidationError) -> set[str]:
    """Return the names of the settings that are wrong."""
    wrong = {str(problem["loc"][0]).lower() for problem in error.errors() if problem["loc"]}
    if "backup_max_size_mb" in wrong:  # the two limits are held against each other
        wrong.add("backup_min_size_mb")
    if "backup_checkpoint_max_age_minutes" in wrong:  # so are schedule and age
        wrong.add("backup_checkpoint_schedule")
    return wrong


def heartbeat_of(backup_id: str) -> SecretStr | None:
    """
    Return BACKUP_HEARTBEAT_URL_<ID>: the dead-man's switch of a backup that has an id; None if it is not set.

    Raises:
        SettingsError: If it is no web address.
    """
    name = f"BACKUP_HEARTBEAT_URL_{backup_id.upper()}"
    value = os.environ.get(name)
    try:
        return secret_url(SecretStr(value)) if value else None
    except ValueError as error:
        raise SettingsError(f"wrong settings: {name}={MASK}: {error}") from None


def load_source_settings() -> SourceSettings:
    """Read only the settings that say where the rows are and which are taken. Raises the same error."""
    return _load(SourceSettings)


def load_metrics_token() -> str | None:
    """
    Return BACKUP_METRICS_TOKEN; None if it is not set.

    The other settings may be wrong: whoever asks for the metrics shall see that, not be refused.

    Raises:
        SettingsError: If it is no token.
    """
    token = _load(MetricsSettings).backup_metrics_token
    return token.get_secret_value() if token else None


def _load(model: type[SettingsT], **values: Any) -> SettingsT:
    try:
        return model(**values)
    except ValidationError as error:
        lines = map(_describe, error.errors())
        raise SettingsError("wrong settings: " + "; ".join(lines)) from None


def _describe(problem: Any) -> str:
    if not problem["loc"]:
        return str(problem["msg"]).removeprefix("Value error, ")
    variable = str(problem["loc"][0]).upper()
    if problem["type"] == "missing":
        return f"{variable} is not set; expected a value, see specs/011-automated-backup/spec.md"
    message = str(problem["msg"]).removeprefix("Value error, ")
    value = str(problem["input"])
    has_login = variable == "BACKUP_COPY_URL" and re.search("[@?]", value)  # a secret key of S3 may hold any character
    seen = MASK if variable in NEVER_SHOWN or has_login else repr(mask(value))
    return f"{variable}={seen}: {message}"
