"""Registers with Airflow what the package adds to it; everything is implemented in include/."""

from __future__ import annotations

from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from include.operators.deadline import BackupDue

# Where a browser finds the app: below the path that Airflow itself is reached at.
HOME = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/") + "/backup/"


class CriticalBackupPlugin(AirflowPlugin):
    """The reference of the deadline, which the scheduler finds by its name; the backups' page and its app."""

    name = "critical_backup"
    deadline_references = [BackupDue]  # noqa: RUF012 - as the base class declares it
    external_views = [  # noqa: RUF012
        {
            "name": "Backups",
            "href": HOME,
            "destination": "nav",
            "nav_top_level": True,
            "url_route": "backups",
            "icon": f"{HOME}static/backup.svg",
            "icon_dark_mode": f"{HOME}static/backup_dark.svg",
        }
    ]

    @cached_property
    def fastapi_apps(self) -> list[Any]:  # type: ignore[override]
        """The app under /backup, made when the api-server asks for it: workers must not import FastAPI."""
        from include.web.app import PREFIX, create_app  # noqa: PLC0415

        return [{"app": create_app(), "url_prefix": PREFIX, "name": "Critical Backup"}]
