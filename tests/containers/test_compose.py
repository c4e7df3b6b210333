"""The compose files: valid, refused without their secrets, and with every service held as tightly as it can be."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.containers.compose_file import AIRFLOW, FILLED_IN, PRODUCTION, ROOT, Project

FILES = (AIRFLOW, PRODUCTION)
SCHEMA = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec")
WRITES = {"airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-worker"}
RUNS_TASKS = {"airflow-scheduler", "airflow-worker"}
FOREIGN = {"airflow-postgres", "airflow-redis"}  # images of others


def services(project: Project, *files: str) -> dict[str, Any]:
    """Return every service, with its profile switched on."""
    made = project.read(*files, profiles=("celery",))["services"]
    assert isinstance(made, dict)
    return made


def mounts(service: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what a service mounts, by the place in the container."""
    return {mount["target"]: mount for mount in service.get("volumes", ())}


def valid(file: Path) -> bool:
    """Return whether the file is one by the schema of the Compose specification."""
    return subprocess.run([*SCHEMA, file], capture_output=True, check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("name", FILES)
def test_file_is_valid(name: str, tmp_path: Path) -> None:
    """By the schema of the Compose specification; a key that it does not know is seen."""
    assert valid(ROOT / name)
    text = (ROOT / name).read_text()
    assert "read_only: true" in text
    (tmp_path / name).write_text(text.replace("read_only: true", "read_onyl: true"))
    assert not valid(tmp_path / name)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("variable", FILLED_IN)
def test_nothing_starts_without_a_secret(project: Project, name: str, variable: str) -> None:
    """One sentence names the variable and what is expected; no other value is shown, and there is no default."""
    assert project.compose("-f", name, "config", "--quiet").returncode == 0
    project.settings({**FILLED_IN, variable: ""})
    answer = project.compose("-f", name, "config", "--quiet")
    assert answer.returncode != 0
    assert f"required variable {variable} is missing a value: is not set; expected" in answer.stderr
    assert not [value for value in FILLED_IN.values() if value in answer.stderr]


def test_file_has_no_password() -> None:
    """Whatever is called a password, secret or key comes from a variable without a default."""
    seen = 0
    for name in FILES:
        for service in yaml.safe_load((ROOT / name).read_text())["services"].values():
            for variable, value in service.get("environment", {}).items():
                if re.search("PASSWORD|SECRET|_KEY|CONN", variable):
                    assert re.search(r"\$\{[A-Z_]+(:\?[^}]+|:-)?\}", value) or not value, variable
                    seen += 1
    assert seen > len(FILLED_IN)


@pytest.mark.parametrize("name", FILES)
def test_every_service_has_a_check_a_limit_and_comes_back(project: Project, name: str) -> None:
    """Health check, restart policy, limits of memory, processors and processes; nobody gains privileges."""
    for service, made in services(project, name).items():
        check = made["healthcheck"]
        assert check.get("disable", False) == (service == "airflow-init"), service
        assert made["restart"] in ("unless-stopped", "on-failure:3"), service
        limits = made["deploy"]["resources"]["limits"]
        assert {"cpus", "memory", "pids"} <= set(limits), service
        assert made["security_opt"] == ["no-new-privileges:true"], service
        assert made.get("privileged", False) is False


def test_our_image_runs_read_only_and_without_capabilities(project: Project) -> None:
    """Only volumes and /tmp are written."""
    ours = {name: made for name, made in services(project, PRODUCTION).items() if name not in FOREIGN}
    assert len(ours) == 7
    for name, made in ours.items():
        assert made["read_only"] is True, name
        assert made["cap_drop"] == ["ALL"], name
        assert made["image"] == "critical-backup:1.0.0", name
        assert not made.get("user"), name


def test_configuration_is_mounted_read_only_where_tasks_run(project: Project) -> None:
    """Nobody else sees the private keys; a folder that is missing is an error and not made."""
    for name, made in services(project, PRODUCTION).items():
        seen = mounts(made)
        assert {"/config", "/config/ssl"} & set(seen) == ({"/config", "/config/ssl"} if name in RUNS_TASKS else set())
        for place in {"/config", "/config/ssl"} & set(seen):
            assert seen[place]["read_only"] is True
            assert not seen[place]["bind"].get("create_host_path", False)


def test_scope_is_seen_by_whatever_reads_it(project: Project) -> None:
    """Tasks, the dag-processor, the page and the health check: all the same file, which nobody here can change."""
    for folder in ("", "/srv/scope"):
        project.settings({**FILLED_IN, "BACKUP_SCOPE_SOURCE": folder})
        made = services(project, PRODUCTION)
        seen = {name: mounts(service)["/scope"] for name, service in made.items() if "/scope" in mounts(service)}
        assert set(seen) == {*WRITES, "backup"}
        assert {mount["source"] for mount in seen.values()} == {folder or os.fspath(project.folder / "include")}
        assert all(mount["read_only"] for mount in seen.values())
        assert {made[name]["environment"]["BACKUP_SCOPE_FILE"] for name in seen} == {"/scope/scope.yaml"}


def test_backups_are_written_by_who_must(project: Project) -> None:
    """The health check sees them read-only; metadata, broker and triggerer do not see them."""
    seen = {name: mounts(made).get("/backups") for name, made in services(project, PRODUCTION).items()}
    assert {name for name, mount in seen.items() if mount and not mount.get("read_only")} == WRITES
    assert seen["backup"] is not None
    assert seen["backup"]["read_only"] is True
    project.settings({**FILLED_IN, "BACKUP_VOLUME": "/srv/backups"})
    for name in (*WRITES, "backup"):
        mount = mounts(services(project, PRODUCTION)[name])["/backups"]
        assert (mount["type"], mount["source"]) == ("bind", "/srv/backups")


def test_only_the_page_is_published_and_only_here(project: Project) -> None:
    """Airflow's page listens on this machine; metadata and broker have a network without a way out."""
    made = services(project, PRODUCTION)
    published = {name: service["ports"] for name, service in made.items() if service.get("ports")}
    assert list(published) == ["airflow-api-server"]
    (port,) = published["airflow-api-server"]
    assert (port["host_ip"], port["target"]) == ("127.0.0.1", 8080)
    assert project.read(AIRFLOW)["networks"]["airflow"]["internal"] is True
    assert all(list(made[name]["networks"]) == ["airflow"] for name in FOREIGN)


def test_secrets_reach_only_who_needs_them(project: Project) -> None:
    """The health check gets none; the first login's password goes to airflow-init alone, and into no argument."""
    project.settings({**FILLED_IN, "AIRFLOW_ADMIN_PASSWORD": "first-login", "POSTGRES_PASSWORD": "of-the-reader"})
    made = services(project, PRODUCTION)
    assert {name for name in made if "first-login" in str(made[name])} == {"airflow-init"}
    assert not [value for value in (*FILLED_IN.values(), "of-the-reader") if value in str(made["backup"])]
    for service in made.values():
        commands = str([service.get("command"), service.get("entrypoint"), service.get("healthcheck")])
        assert not [value for value in (*FILLED_IN.values(), "first-login", "of-the-reader") if value in commands]


def test_fragment_joins_an_existing_stack(project: Project) -> None:
    """Beside services of the names that a stack usually has, in its default network, where its database is."""
    text = (project.folder / PRODUCTION).read_text()
    stack = "services:\n" + "".join(
        f"  {name}:\n    image: {name}\n" for name in ("postgres", "redis", "backend", "nginx")
    )
    (project.folder / PRODUCTION).write_text(text.replace("services:\n", stack))
    made = services(project, PRODUCTION)
    assert {"postgres", "redis", "backend", "nginx", "backup", "airflow-scheduler"} <= set(made)
    assert set(made["postgres"]["networks"]) & set(made["airflow-scheduler"]["networks"]) == {"default"}
    assert project.read(PRODUCTION)["services"].keys() == made.keys() - {"airflow-redis", "airflow-worker"}
