"""Who may press which button: Airflow's own rights, asked beforehand, so that the button itself can say so."""

from __future__ import annotations

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.models.dag import DagModel

BACKUP, DRILL, RESTORE = "critical_backup", "restore_drill", "restore_backup"


def may_start(user: BaseUser, dag_id: str) -> bool:
    """Whether Airflow lets this person start runs of the DAG; a backfill asks for the same right."""
    details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
    return get_auth_manager().is_authorized_dag(
        method="POST", access_entity=DagAccessEntity.RUN, details=details, user=user
    )
