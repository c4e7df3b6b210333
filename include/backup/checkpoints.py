"""Checkpoints: complete archives between the nights, which are one more backup of the same database."""

from __future__ import annotations

from include.backup.settings import Settings


def checkpoint_settings(parent: Settings) -> Settings:
    """
    Return what the settings of a backup become for its checkpoints; what is not named here is the same for both.

    Args:
        parent: Its settings, still without what is each backup's own: folder, second copies, dead-man's switch.
    """
    changes = {
        "backup_schedule": parent.backup_checkpoint_schedule or parent.backup_schedule,
        # After this time no archive of the run could be in time any more.
        "backup_run_timeout_minutes": min(parent.backup_run_timeout_minutes, parent.backup_checkpoint_max_age_minutes),
        "backup_drill": "weekly" if parent.backup_drill == "always" else parent.backup_drill,
        "backup_retention_weeks": 0,
        "backup_retention_months": 0,
    }
    return parent.model_copy(update=changes)
