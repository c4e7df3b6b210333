"""The settings: defaults, and one clear line for everything that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from pyrage import x25519

from include.backup.errors import SettingsError
from include.backup.settings import PACKAGED_SCOPE_FILE, Settings, load_metrics_token, load_settings

REQUIRED = {"ADMIN_EMAILS": "admin@example.com"}
DEFAULTS = {
    "postgres_host": "localhost",
    "postgres_port": 5432,
    "postgres_db": "smart_ai_hub",
    "postgres_user": None,
    "postgres_password": None,
    "smtp_host": None,
    "smtp_port": 587,
    "smtp_user": None,
    "smtp_pass": None,
    "smtp_from": None,
    "smtp_allow_plaintext": False,
    "admin_emails": ("admin@example.com",),
    "backup_connection": "smart_ai_hub",
    "backup_pool": "default_pool",
    "backup_schedule": "0 2 * * *",
    "backup_timezone": "UTC",
    "backup_dir": Path("/backups"),
    "backup_group": None,
    "backup_config_dir": Path("/config"),
    "backup_scope_file": None,
    "backup_window_months": 3,
    "backup_parallel": 2,
    "backup_max_mb_per_second": 0,
    "backup_drill": "always",
    "backup_min_size_mb": 1,
    "backup_max_size_mb": 100,
    "backup_attachment_max_mb": 25,
    "backup_link_base_url": None,
    "backup_link_days": 7,
    "backup_retention_days": 30,
    "backup_retention_min_keep": 7,
    "backup_max_age_hours": 25,
    "backup_retention_weeks": 0,
    "backup_retention_months": 0,
    "backup_checkpoint_schedule": None,
    "backup_checkpoint_keep_hours": 24,
    "backup_checkpoint_max_age_minutes": 30,
    "backup_age_recipients": None,
    "backup_age_identity_file": None,
    "backup_require_encryption": False,
    "backup_copy_url": None,
    "backup_copy_retention_days": 90,
    "backup_deadline_minutes": 10,
    "backup_slack_webhook_url": None,
    "backup_log_file": Path("/var/log/backup.log"),
    "backup_log_format": "text",
    "backup_heartbeat_url": None,
    "backup_metrics_token": None,
    "backup_retry_delay_seconds": 60,
    "backup_run_timeout_minutes": 60,
}

# Variable, wrong value, and a piece of what is expected.
WRONG = [
    ("POSTGRES_PORT", "0", "greater than or equal to 1"),
    ("POSTGRES_PORT", "65536", "less than or equal to 65535"),
    ("POSTGRES_PORT", "five", "valid integer"),
    ("SMTP_PORT", "587.5", "valid integer"),
    ("SMTP_PORT", "-25", "greater than or equal to 1"),
    ("SMTP_FROM", "nobody", "admin@example.com"),
    ("SMTP_FROM", "Backup <backup@example.com>", "admin@example.com"),
    ("ADMIN_EMAILS", "nobody", "admin@example.com"),
    ("ADMIN_EMAILS", "a@example.com; b@example.com", "admin@example.com"),
    ("ADMIN_EMAILS", "a@example.com\nBcc: b@example.com", "admin@example.com"),
    ("ADMIN_EMAILS", " , ,", "at least one"),
    ("BACKUP_SCHEDULE", "daily", "'0 2 * * *'"),
    ("BACKUP_SCHEDULE", "@daily", "five fields"),
    ("BACKUP_SCHEDULE", "0 2 * *", "five fields"),
    ("BACKUP_SCHEDULE", "0 2 * * * *", "five fields"),
    ("BACKUP_SCHEDULE", "60 2 * * *", "five fields"),
    ("BACKUP_TIMEZONE", "Mars/Olympus", "'Asia/Bangkok'"),
    ("BACKUP_TIMEZONE", "../../etc/passwd", "'Asia/Bangkok'"),
    ("BACKUP_TIMEZONE", "/etc/localtime", "'Asia/Bangkok'"),
    ("BACKUP_TIMEZONE", "Europe", "'Asia/Bangkok'"),
    ("BACKUP_DIR", "backups", "absolute path"),
    ("BACKUP_DIR", "~/backups", "absolute path"),
    ("BACKUP_CONFIG_DIR", "./config", "absolute path"),
    ("BACKUP_SCOPE_FILE", "scope.yaml", "absolute path"),
    ("BACKUP_LOG_FILE", "backup.log", "absolute path"),
    ("BACKUP_LOG_FORMAT", "xml", "'text' or 'json'"),
    ("BACKUP_WINDOW_MONTHS", "0", "greater than or equal to 1"),
    ("BACKUP_PARALLEL", "0", "greater than or equal to 1"),
    ("BACKUP_PARALLEL", "17", "less than or equal to 16"),
    ("BACKUP_MAX_MB_PER_SECOND", "-1", "greater than or equal to 0"),
    ("BACKUP_MIN_SIZE_MB", "-1", "greater than or equal to 0"),
    ("BACKUP_MAX_SIZE_MB", "0", "greater than or equal to 1"),
    ("BACKUP_ATTACHMENT_MAX_MB", "-1", "greater than or equal to 0"),
    ("BACKUP_LINK_BASE_URL", "airflow.example.com", "'https://airflow.example.com'"),
    ("BACKUP_LINK_BASE_URL", "ftp://example.com", "'https://airflow.example.com'"),
    ("BACKUP_LINK_BASE_URL", "javascript:alert(1)", "'https://airflow.example.com'"),
    ("BACKUP_LINK_BASE_URL", "https://two words", "'https://airflow.example.com'"),
    ("BACKUP_RETENTION_DAYS", "0", "greater than or equal to 1"),
    ("BACKUP_RETENTION_MIN_KEEP", "0", "greater than or equal to 1"),
    ("BACKUP_MAX_AGE_HOURS", "0", "greater than or equal to 1"),
    ("BACKUP_RETENTION_WEEKS", "-1", "greater than or equal to 0"),
    ("BACKUP_RETENTION_MONTHS", "1201", "less than or equal to 1200"),
    ("BACKUP_CHECKPOINT_SCHEDULE", "often", "five fields"),
    ("BACKUP_CHECKPOINT_KEEP_HOURS", "0", "greater than or equal to 1"),
    ("BACKUP_CHECKPOINT_MAX_AGE_MINUTES", "0", "greater than or equal to 1"),
    ("BACKUP_AGE_IDENTITY_FILE", "keys.txt", "absolute path"),
    ("BACKUP_REQUIRE_ENCRYPTION", "perhaps", "valid boolean"),
    ("BACKUP_COPY_URL", "/mnt/second", "'file:///mnt/second/backups'"),
    ("BACKUP_COPY_URL", "file://mnt/second", "'file:///mnt/second/backups'"),
    ("BACKUP_COPY_URL", "file:///", "'file:///mnt/second/backups'"),
    ("BACKUP_COPY_URL", "file:///mnt/../backups", "'file:///mnt/second/backups'"),
    ("BACKUP_COPY_URL", "file:///backups", "another disk or place"),
    ("BACKUP_COPY_URL", "file:///backups/second", "another disk or place"),
    ("BACKUP_COPY_URL", "s3://", "'s3://connection_name@bucket/backups'"),
    ("BACKUP_COPY_URL", "s3:bucket", "'s3://connection_name@bucket/backups'"),
    ("BACKUP_COPY_URL", "simplecache::s3://bucket", "'s3://connection_name@bucket/backups'"),
    ("BACKUP_COPY_URL", "s3://bucket/my backups", "'s3://connection_name@bucket/backups'"),
    ("BACKUP_COPY_RETENTION_DAYS", "-1", "greater than or equal to 0"),
    ("BACKUP_RETRY_DELAY_SECONDS", "0", "greater than or equal to 1"),
    ("BACKUP_RUN_TIMEOUT_MINUTES", "0", "greater than or equal to 1"),
]

# Values that can be read, and with which a later step could only fail.
USELESS = [
    ("ADMIN_EMAILS", "ผู้ดูแล@example.com"),  # without SMTPUTF8 such an address cannot be sent to
    ("ADMIN_EMAILS", "admin@example.com\x1b"),
    ("BACKUP_LINK_BASE_URL", "https://example.com?tenant=1"),  # a path is put behind it
    ("BACKUP_WINDOW_MONTHS", "99999"),  # before the year 1
    ("BACKUP_RETENTION_DAYS", "99999999999"),  # more than a timedelta holds
    ("BACKUP_MAX_AGE_HOURS", "99999999999999"),
]


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(name, raising=False)


def load(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> Settings:
    for name, value in {**REQUIRED, **variables}.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def refusal(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        load(monkeypatch, variables)
    message = str(caught.value)
    assert message.splitlines() == [message]
    return message


def test_settings_only_required_set_have_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other setting has the default of the specification, and none is missing from this table."""
    assert load(monkeypatch, {}).model_dump() == DEFAULTS


def test_settings_nothing_set_names_the_required_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """ADMIN_EMAILS has no default: the message says that it is not set."""
    with pytest.raises(SettingsError, match=r"ADMIN_EMAILS is not set; expected"):
        load_settings()


@pytest.mark.parametrize(("variable", "value", "expected"), WRONG)
def test_settings_wrong_value_named_with_expectation(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    """One line names the variable, the value and what is expected."""
    message = refusal(monkeypatch, {variable: value})
    assert f"{variable}={value!r}" in message
    assert expected in message


@pytest.mark.parametrize(("variable", "value"), USELESS)
def test_settings_value_that_cannot_work_refused(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """A value with which a later step could only fail is refused at once."""
    assert f"{variable}=" in refusal(monkeypatch, {variable: value})


def test_settings_several_wrong_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """All wrong variables stand in one line, whatever their kind."""
    wrong = {"POSTGRES_PORT": "x", "BACKUP_SCHEDULE": "y", "BACKUP_TIMEZONE": "z", "BACKUP_DIR": "w"}
    message = refusal(monkeypatch, wrong)
    assert [name for name in wrong if f"{name}='{wrong[name]}'" not in message] == []


def test_settings_several_addresses_wrong_all_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several addresses each wrong one is called wrong, not only the first."""
    message = refusal(monkeypatch, {"ADMIN_EMAILS": "good@example.com,bad,worse"})
    reason = message.partition(": ")[2].partition(": ")[2]
    assert "'bad'" in reason
    assert "'worse'" in reason
    assert "'good@example.com'" not in reason


@pytest.mark.parametrize("limits", [("100", "100"), ("101", "100")])
def test_settings_limits_not_in_order_names_both(monkeypatch: pytest.MonkeyPatch, limits: tuple[str, str]) -> None:
    """The lower limit must be below the upper one."""
    message = refusal(monkeypatch, {"BACKUP_MIN_SIZE_MB": limits[0], "BACKUP_MAX_SIZE_MB": limits[1]})
    assert f"BACKUP_MIN_SIZE_MB={limits[0]}" in message
    assert f"BACKUP_MAX_SIZE_MB={limits[1]}" in message


def test_age_recipients_are_public_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several, separated by commas."""
    keys = tuple(str(x25519.Identity.generate().to_public()) for _ in range(2))
    assert load(monkeypatch, {"BACKUP_AGE_RECIPIENTS": ", ".join(keys)}).backup_age_recipients == keys


@pytest.mark.parametrize("variable", ["BACKUP_AGE_RECIPIENTS", "BACKUP_AGE_IDENTITY_FILE"])
def test_private_key_in_a_setting_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """The two mistakes that are near: the wrong key, and the key instead of its file."""
    key = str(x25519.Identity.generate())
    message = refusal(monkeypatch, {variable: key})
    assert f"{variable}=" in message
    assert key not in message
    assert key[20:30] not in message


def test_wrong_recipients_are_never_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows what it is that is there instead."""
    message = refusal(monkeypatch, {"BACKUP_AGE_RECIPIENTS": "hunter2-hunter2"})
    assert message.startswith(
        "wrong settings: BACKUP_AGE_RECIPIENTS=***: key 1 of 1 is not a public key; expected age1"
    )
    assert "hunter2" not in message


def test_settings_limits_and_others_wrong_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits in the wrong order are reported beside other wrong values, not after these are mended."""
    message = refusal(
        monkeypatch, {"BACKUP_MIN_SIZE_MB": "9", "BACKUP_MAX_SIZE_MB": "5", "BACKUP_TIMEZONE": "Mars/Olympus"}
    )
    assert "BACKUP_TIMEZONE=" in message
    assert "BACKUP_MAX_SIZE_MB=" in message


def test_settings_secrets_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an error nor the settings themselves show a password."""
    secrets = {
        "POSTGRES_PASSWORD": "swordfish-1",
        "SMTP_PASS": "swordfish-2",
        "BACKUP_METRICS_TOKEN": "swordfish-3-of-the-metrics",
    }
    settings = load(monkeypatch, secrets)
    assert "swordfish" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert settings.smtp_pass is not None
    assert settings.smtp_pass.get_secret_value() == "swordfish-2"
    message = refusal(monkeypatch, {**secrets, "BACKUP_DIR": "x", "SMTP_PORT": "y", "ADMIN_EMAILS": "z"})
    assert "swordfish" not in message


@pytest.mark.parametrize("token", ["short", "swordfish with spaces", "swordfish-of-the-métrics", "=" * 20])
def test_metrics_token_that_no_header_can_carry_is_refused_unseen(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """Too short to be a secret, or not of the characters of a bearer token; the line does not show it."""
    message = refusal(monkeypatch, {"BACKUP_METRICS_TOKEN": token})
    assert "BACKUP_METRICS_TOKEN=***: not 16 or more letters" in message
    assert token not in message


def test_metrics_token_is_known_while_other_settings_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever watches must see that they are."""
    assert load_metrics_token() is None
    monkeypatch.setenv("BACKUP_DIR", "not/absolute")
    monkeypatch.setenv("BACKUP_METRICS_TOKEN", "0123456789abcdef==")
    assert load_metrics_token() == "0123456789abcdef=="


def test_settings_error_hides_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's own error, which shows all values, is not part of the trace."""
    with pytest.raises(SettingsError) as caught:
        load(monkeypatch, {"BACKUP_DIR": "x", "SMTP_PASS": "swordfish"})
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("variable", [name for name in map(str.upper, DEFAULTS) if name != "ADMIN_EMAILS"])
def test_settings_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """An empty variable, as a compose file makes it, leaves the default."""
    assert load(monkeypatch, {variable: ""}).model_dump() == DEFAULTS


def test_settings_required_empty_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty ADMIN_EMAILS is a missing one."""
    assert "ADMIN_EMAILS is not set" in refusal(monkeypatch, {"ADMIN_EMAILS": ""})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a@example.com", ("a@example.com",)),
        ("a@example.com,", ("a@example.com",)),
        (" a@example.com ,, b@example.com , ", ("a@example.com", "b@example.com")),
        ("b@example.com,a@example.com,b@example.com", ("b@example.com", "a@example.com")),
        ("a@example.com,\nb@example.com\n", ("a@example.com", "b@example.com")),
    ],
)
def test_admin_emails_loosely_written_read(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: tuple[str, ...]
) -> None:
    """Spaces, line ends, trailing commas and doubles do no harm; the order stays."""
    assert load(monkeypatch, {"ADMIN_EMAILS": value}).admin_emails == expected


def test_link_base_trailing_slash_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path can be put behind the address whether it ended with a slash or not."""
    settings = load(monkeypatch, {"BACKUP_LINK_BASE_URL": "https://airflow.example.com/base/"})
    assert settings.backup_link_base_url == "https://airflow.example.com/base"


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIAEXAMPLE:swordfish@bucket/backups",
        "s3://AKIAEXAMPLE:sword/fish+swordfish@bucket/backups",
        "s3://:swordfish@bucket",
        "sftp://user:sword@fish@host/swordfish",
        "s3://bucket/backups?secret=swordfish",
        "file://user:swordfish@/mnt",
    ],
)
def test_copy_url_with_a_login_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """A secret belongs into an Airflow connection, and into no error text."""
    message = refusal(monkeypatch, {"BACKUP_COPY_URL": url})
    assert "BACKUP_COPY_URL=***: " in message
    assert "Airflow connection" in message
    assert "fish" not in message


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("file:///mnt/second/", "file:///mnt/second"),
        ("file:///mnt", "file:///mnt"),
        ("s3://bucket", "s3://bucket"),
        ("s3://offsite@bucket/critical/backups/", "s3://offsite@bucket/critical/backups"),
        ("sftp://offsite@host.example.com/backups", "sftp://offsite@host.example.com/backups"),
    ],
)
def test_copy_url_read_without_the_last_slash(monkeypatch: pytest.MonkeyPatch, value: str, expected: str) -> None:
    """A folder, a bucket, a part of it, with the name of a connection or without."""
    assert load(monkeypatch, {"BACKUP_COPY_URL": value}).backup_copy_url == expected


def test_scope_file_set_or_packaged(monkeypatch: pytest.MonkeyPatch) -> None:
    """BACKUP_SCOPE_FILE replaces the packaged scope, which exists."""
    assert load(monkeypatch, {}).scope_file == PACKAGED_SCOPE_FILE
    assert PACKAGED_SCOPE_FILE.is_file()
    assert load(monkeypatch, {"BACKUP_SCOPE_FILE": "/etc/scope.yaml"}).scope_file == Path("/etc/scope.yaml")


def test_settings_assignment_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings never change while a run lasts."""
    settings: Any = load(monkeypatch, {})
    with pytest.raises(ValidationError, match="frozen"):
        settings.backup_dir = Path("/elsewhere")


def test_settings_unknown_variable_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other programs' variables are not this one's business."""
    assert load(monkeypatch, {"BACKUP_COLOUR": "red"}).model_dump() == DEFAULTS
