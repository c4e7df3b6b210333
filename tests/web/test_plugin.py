"""What the plugin adds to Airflow: the app for the api-server, the entry in the navigation, nothing for workers."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.fix_airflow import REPOSITORY
from tests.fix_api_server import ApiServer

AS_A_WORKER = """
import sys
from airflow.sdk.execution_time import task_runner
from airflow.sdk import plugins_manager
plugins_manager.integrate_macros_plugins()
plugins_manager.get_hook_lineage_readers_plugins()
from airflow import plugins_manager as core
print(sorted(core.get_deadline_references_plugins()))
print([plugin.name for plugin in plugins_manager._get_plugins()[0]], core._get_plugins()[1])
print(sorted({name.split('.')[0] for name in sys.modules} & {'fastapi', 'starlette'}))
print([name for name in sys.modules if name.startswith('include.web')])
"""


def test_worker_loads_the_plugin_without_fastapi() -> None:
    """A process that loads plugins as a worker does has the deadline's reference, and imports no web server."""
    result = subprocess.run(
        [sys.executable, "-c", AS_A_WORKER],
        env=os.environ | {"PYTHONPATH": os.fspath(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines()[-4:] == [
        "['include.operators.deadline.BackupDue']",
        "['critical_backup'] {}",
        "[]",
        "[]",
    ]


def test_navigation_has_the_backups(api_server: ApiServer) -> None:
    """Airflow's UI is told of the page and its icons; the icons are served, to everyone."""
    (plugin,) = api_server.get("/api/v2/plugins", "viewer").json()["plugins"]
    (view,) = plugin["external_views"]
    assert (view["name"], view["href"], view["url_route"]) == ("Backups", "/backup/", "backups")
    assert (view["destination"], view["nav_top_level"]) == ("nav", True)
    for icon in (view["icon"], view["icon_dark_mode"]):
        answer = api_server.get(icon)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/svg+xml")
    assert plugin["fastapi_apps"][0]["url_prefix"] == "/backup"


def test_navigation_follows_the_path_that_airflow_is_reached_at() -> None:
    """Behind a proxy that serves Airflow below a path, the page is below it, too."""
    script = "from airflow.sdk import plugins_manager as p; print(p._get_plugins()[0][0].external_views[0]['href'])"
    result = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": os.fspath(REPOSITORY), "AIRFLOW__API__BASE_URL": "https://x.example/air/flow"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines()[-1] == "/air/flow/backup/"


def test_static_files_are_those_of_the_folder_alone(api_server: ApiServer) -> None:
    """No listing, and no way out of it."""
    for path in ("", "/", "/../app.py", "/%2e%2e/app.py", "/..%2fapp.py", "/.", "//etc/passwd"):
        assert api_server.get(f"/backup/static{path}").status_code == 404
