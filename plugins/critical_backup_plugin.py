"""Registers with Airflow what the package adds to it; everything is implemented in include/."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from include.operators.deadline import BackupDue


class CriticalBackupPlugin(AirflowPlugin):
    """The reference of the deadline, which the scheduler has to find again by its name."""

    name = "critical_backup"
    deadline_references = [BackupDue]  # noqa: RUF012 - as the base class declares it
