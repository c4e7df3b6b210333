"""The settings of whoever reports that the settings are wrong."""

from __future__ import annotations

import pytest

from include.backup.errors import SettingsError
from include.backup.settings import Settings, load_settings, load_usable_settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"BACKUP_SCHEDULE": "at night"},
        {"BACKUP_DIR": "backups", "BACKUP_TIMEZONE": "Mars", "SMTP_PORT": "mail"},
        {"BACKUP_MAX_SIZE_MB": "0"},
        {"BACKUP_MIN_SIZE_MB": "500"},
        {"BACKUP_MIN_SIZE_MB": "500", "BACKUP_MAX_SIZE_MB": "400"},
        {"POSTGRES_PORT": "0", "SMTP_FROM": "nobody"},
    ],
)
def test_wrong_values_become_defaults_and_right_ones_stay(
    wrong: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where load_settings refuses, the rest is still known: above all, who gets a mail."""
    for name, value in ({"ADMIN_EMAILS": "admin@example.com", "BACKUP_RETENTION_DAYS": "77"} | wrong).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError):
        load_settings()
    settings = load_usable_settings()
    assert settings.admin_emails == ("admin@example.com",)
    assert settings.backup_retention_days == 77
    defaults = {name.lower(): Settings.model_fields[name.lower()].get_default() for name in wrong}
    assert {name: getattr(settings, name) for name in defaults} == defaults


def test_right_settings_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is replaced that is not wrong."""
    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    monkeypatch.setenv("BACKUP_SCHEDULE", "0 4 * * *")
    assert load_usable_settings() == load_settings()


@pytest.mark.parametrize("addresses", ["", "nobody", "a@example.com, nobody"])
def test_without_an_address_there_is_nobody_to_tell(addresses: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the same error as always says so."""
    monkeypatch.setenv("ADMIN_EMAILS", addresses)
    monkeypatch.setenv("BACKUP_SCHEDULE", "at night")
    with pytest.raises(SettingsError, match="ADMIN_EMAILS"):
        load_usable_settings()
