"""Airflow's simple logins, and one user whose role holds for the DAGs of a single backup."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

ONE_BACKUP_ONLY = "orders_viewer"
ITS_DAGS = ("critical_backup_orders", "restore_drill_orders", "restore_backup_orders")


class OneBackupAuthManager(SimpleAuthManager):
    """Rights DAG by DAG, as the auth managers of large sites have them, for that one user."""

    def is_authorized_dag(self, *, user: Any, details: Any = None, **asked: Any) -> bool:
        """Whether the user may do that with the DAG."""
        if user.get_name() == ONE_BACKUP_ONLY and (details is None or details.id not in ITS_DAGS):
            return False
        return bool(super().is_authorized_dag(user=user, details=details, **asked))
