"""The operator of every step: Airflow's context in, one function of include.operators.steps, errors out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, BaseOperator

from include.backup.backup_id import Backup

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.operators.task import BackupTask


def verified(backup: Backup) -> Asset:
    """Return the asset of a backup's new archives: verify_archive makes the event, the backup's drill waits for it."""
    return Asset(f"{backup.dag_id}_verified")


# Nothing makes or waits for it: its state store is the memory of backup_watch, the same for every worker.
WATCH_MEMORY = Asset("backup_watch_memory")


class BackupOperator(BaseOperator):
    """Runs the function of include.operators.steps that has the task's id; its result is the XCom."""

    steps = "include.operators.steps"
    _task: BackupTask | None = None

    def execute(self, context: Context) -> Any:
        """Run the step; errors that no retry mends fail the task at once."""
        # Workers need the core with its database driver; whoever only parses the DAG does not.
        from include.backup.rights import private_process  # noqa: PLC0415
        from include.operators.secrets import tell_airflow_secrets, without_secrets  # noqa: PLC0415
        from include.operators.task import BackupTask, errors_for_airflow  # noqa: PLC0415

        tell_airflow_secrets()
        with private_process(), errors_for_airflow(context):
            self._task = BackupTask(context)
            return without_secrets(getattr(import_module(self.steps), self.task_id)(self._task))

    def on_kill(self) -> None:
        """End what the step has started: child processes, and with them their queries."""
        if self._task and self._task.cancel:
            self._task.cancel()


class RestoreOperator(BackupOperator):
    """Runs the function of include.operators.restore_steps that has the task's id; its result is the XCom."""

    steps = "include.operators.restore_steps"


class WatchOperator(BackupOperator):
    """Runs the function of include.operators.watch_steps that has the task's id; its result is the XCom."""

    steps = "include.operators.watch_steps"


def branch_to_delivery(**context: Any) -> str:
    """Return the id of the task that goes on: attachment, link, or no mail at all. For a BranchPythonOperator."""
    from include.operators import steps  # noqa: PLC0415
    from include.operators.task import BackupTask, errors_for_airflow  # noqa: PLC0415

    with errors_for_airflow(context):  # type: ignore[arg-type]
        return steps.choose_delivery(BackupTask(context))  # type: ignore[arg-type]
