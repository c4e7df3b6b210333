"""Which DAGs a file makes: one for each backup that scope.yaml names, whose settings are right."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from airflow.sdk import get_parsing_context

from include.backup.errors import SettingsError
from include.backup.fleet import read_fleet, settings_of
from include.backup.settings import Settings, load_settings

log = logging.getLogger(__name__)


def each_backup() -> Iterator[Settings]:
    """
    Yield the settings of each backup that a DAG is to be made of; the DAG of one whose entry is wrong is missing.

    That takes no other one away; backup_watch, the status page and `python -m include.backup.scope backups` say why.
    Whoever runs a task needs its own DAG alone, and gets no other.

    Raises:
        SettingsError: If the environment is wrong, which is every backup's.
    """
    environment = load_settings()
    wanted = get_parsing_context().dag_id
    for backup in read_fleet(environment.scope_file).backups:
        if wanted and wanted not in (backup.dag_id, backup.drill_dag_id, backup.restore_dag_id):
            continue
        try:
            yield settings_of(backup, environment)
        except SettingsError as error:
            log.error("no DAG %s: %s", backup.dag_id, error)  # noqa: TRY400 - the message says it all
