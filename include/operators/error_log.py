"""What goes to BACKUP_LOG_FILE, besides Airflow's own logs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowRescheduleException, AirflowSkipException, AirflowTaskTimeout

from include.backup.errors import BackupError
from include.backup.log_file import ErrorEntry, write_error
from include.backup.masking import mask
from include.backup.settings import Settings

if TYPE_CHECKING:
    from airflow.sdk import Context

_NO_ERRORS = (AirflowSkipException, AirflowRescheduleException)  # how Airflow's tasks end early


@contextmanager
def recorded_errors(context: Context | None) -> Iterator[None]:
    """Record every error that passes, and mask the secrets in the core's own; all are raised again."""
    try:
        yield
    except _NO_ERRORS:
        raise
    except (Exception, AirflowTaskTimeout) as error:
        _mask_errors(error)
        record_error(str(error) or type(error).__name__, context=context, error=error)
        raise


def record_error(message: str, *, context: Context | None = None, error: BaseException | None = None) -> None:
    """Write one error to BACKUP_LOG_FILE; never raises. The settings need not be right: they may be the error."""
    path = Path(os.environ.get("BACKUP_LOG_FILE") or "")
    default: Path = Settings.model_fields["backup_log_file"].default
    form = os.environ.get("BACKUP_LOG_FORMAT")
    entry = ErrorEntry(message, _where(context), error, datetime.now(timezone.utc))
    write_error(path if path.is_absolute() else default, "json" if form == "json" else "text", entry)


def _where(context: Context | None) -> dict[str, str | int]:
    ti = context.get("ti") if context else None
    if ti is None:
        return {}
    return {"dag": ti.dag_id, "task": ti.task_id, "run": ti.run_id, "try": ti.try_number}


def _mask_errors(error: BaseException | None) -> None:
    """Airflow writes the whole chain to its log, and the last one into its alerts."""
    while error:
        if isinstance(error, BackupError):
            error.args = tuple(mask(str(arg)) for arg in error.args)
        error = error.__cause__ or error.__context__
