"""The stack in real containers: built, started, backed up, killed, upgraded, rolled back. By `make test-containers`."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.engine import Engine
from tests.end_to_end.container_stack import ADMIN_PASSWORD, BUILD, Stack, base_image, build_as_typed, build_images
from tests.fix_documents import shell_block

MISSING = "on demand: `make test-containers` brings a Docker engine and starts this"
BEFORE, AFTER = "critical-backup-test:before", "critical-backup-test:after"

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """An engine with all images; where there is none, or it is not asked for, the tests are skipped."""
    folder = os.environ.get("TEST_DOCKER")
    if not folder or os.geteuid() != 0:
        pytest.skip(MISSING)
    own = tmp_path_factory.mktemp("engine")
    engine = Engine(Path(folder), own)
    with engine.running(builds=True):
        build_images(engine, own, {BEFORE: "0.9.9", AFTER: "1.0.0"})
    return engine


@pytest.fixture(scope="module")
def stack(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything up and healthy, by the image before, all DAGs on; without a backup."""
    with engine.running(builds=False):
        stack = Stack(engine, tmp_path_factory.mktemp("project"))
        stack.use(BEFORE)
        try:
            stack.up()
            stack.switch_on()
            yield stack
        finally:
            stack.down()


def api(stack: Stack, password: str) -> str:
    """Log in to Airflow's page, and return the states of login and of the backup's health, as HTTP has them."""
    script = (
        "import httpx, sys; a = httpx.Client(base_url='http://127.0.0.1:8080', timeout=60); "
        "login = a.post('/auth/token', json={'username': 'admin', 'password': sys.argv[1]}); "
        "headers = {'Authorization': 'Bearer ' + login.json().get('access_token', 'none')}; "
        "print(login.status_code, a.get('/backup/status', headers=headers).status_code)"
    )
    return stack.run("airflow-api-server", "python", "-c", script, password)


def test_the_same_source_makes_the_same_files(engine: Engine) -> None:
    """Every path with its rights, owners and content, built twice from nothing; times are the documents' affair."""
    options = ("--no-cache", "--build-arg", f"BASE_IMAGE={base_image()}", "--build-arg", "VERSION=1.0.0")
    made = []
    with engine.running(builds=True):
        for tag in ("critical-backup-test:once", "critical-backup-test:again"):
            build_as_typed(engine, BUILD, tag, *options)
            made.append(engine.files(tag))
    once, again = made
    assert len(once) > 20_000
    assert sorted(path for path in once.keys() | again.keys() if once.get(path) != again.get(path)) == []


def test_a_backup_in_containers_is_whole_and_told(stack: Stack) -> None:
    """Unhealthy before the first, healthy after it; nobody else may read it, and the mail has arrived."""
    stack.wait_for(lambda: stack.health("backup") == "unhealthy", "unhealthy backups", 30)
    archive = stack.back_up()
    stack.wait_for(lambda: stack.health("backup") == "healthy", "healthy backups", 30)
    assert stack.run("backup", "stat", "-c", "%u %a", f"/backups/{archive}") == "50000 600"
    names = stack.run("backup", "tar", "-tzf", f"/backups/{archive}").splitlines()
    assert {"users.sql", ".env.production", "docker-compose.prod.yml", "nginx.prod.conf", "ssl/key.pem"} <= set(names)
    mails = stack.run("mailbox", "sh", "-c", "grep -h ^Subject /mail/box/new/*").splitlines()
    assert [subject for subject in mails if subject.startswith("Subject: Backup OK: smart_ai_hub")]
    drilled = "SELECT state FROM task_instance WHERE dag_id = 'restore_drill' AND task_id = 'drill_archive'"
    assert stack.wait_for(lambda: {"success", "failed", "skipped"} & set(stack.query(drilled)), "drill", 120) == {
        "success"
    }


def test_page_wants_the_login_that_was_made(stack: Stack) -> None:
    """The login of AIRFLOW_ADMIN_PASSWORD and no other."""
    assert api(stack, ADMIN_PASSWORD) == "201 200"
    assert api(stack, "admin").split()[0] == "401"


def test_programs_cannot_change_their_own_files(stack: Stack) -> None:
    """Not root, no capability, nothing writable but volumes and /tmp; the configuration is read-only."""
    tries = "for f in /opt/airflow/include/x /config/x /usr/bin/x; do touch $f; done 2>&1"
    script = f"id -u; grep CapEff /proc/self/status; {tries}"
    said = stack.run("airflow-scheduler", "sh", "-c", f"{script}; true").splitlines()
    assert said[0] == "50000"
    assert said[1].split() == ["CapEff:", "0000000000000000"]
    assert [line for line in said[2:] if "Read-only file system" in line] == said[2:]
    assert len(said) == 5
    assert stack.run(
        "airflow-scheduler", "sh", "-c", "for p in gcc make pg_dump psql; do command -v $p; done; true"
    ).split() == [
        "/usr/bin/pg_dump",
        "/usr/bin/psql",
    ]


def test_killed_scheduler_comes_back_and_backs_up(stack: Stack) -> None:
    """The engine starts it again, and the next backup is made."""
    stack.kill("airflow-scheduler")
    stack.wait_for(lambda: stack.inspect("airflow-scheduler")["RestartCount"] == 1, "restart", 60)
    stack.wait_for(lambda: stack.health("airflow-scheduler") == "healthy", "healthy scheduler", 120)
    stack.back_up(shell_block("docs/BACKUP_OPERATIONS.md", "dags trigger"))


def test_upgrade_and_rollback_keep_everything(stack: Stack) -> None:
    """Archives, runs, logins and health outlive the change to the next image and back; each makes a backup."""
    images = []
    for image in (AFTER, BEFORE):
        kept = stack.archives()
        runs = stack.query("SELECT count(*) FROM dag_run WHERE state = 'success'")
        stack.upgrade(image)
        images.append(stack.inspect("airflow-scheduler")["Config"]["Labels"]["org.opencontainers.image.version"])
        assert set(kept) <= set(stack.archives())
        assert int(stack.query("SELECT count(*) FROM dag_run WHERE state = 'success'")[0]) >= int(runs[0])
        stack.back_up()
        stack.wait_for(lambda: stack.health("backup") == "healthy", "healthy backups", 30)
        assert api(stack, ADMIN_PASSWORD) == "201 200"
    assert images == ["1.0.0", "0.9.9"]


def test_plan_for_trouble_stops_everything_and_keeps_the_archives(stack: Stack) -> None:
    """Paused and taken down as the rollback plan has it; what comes up again has archives, runs and pauses."""
    kept, runs = stack.archives(), stack.query("SELECT count(*) FROM dag_run")
    stack.run_inside(shell_block("docs/BACKUP_OPERATIONS.md", "dags pause"))
    stack.take_down()
    stack.up()
    assert stack.archives() == kept
    assert stack.query("SELECT count(*) FROM dag_run") >= runs
    assert stack.query("SELECT is_paused FROM dag WHERE dag_id = 'critical_backup'") == ["t"]
    stack.switch_on()
    stack.back_up()


def test_workers_of_the_profile_celery_make_the_backup(stack: Stack) -> None:
    """Redis and a worker join by the settings alone; every step runs there, and none in the scheduler."""
    settings = {"COMPOSE_PROFILES": "celery", "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor"}
    stack.use(BEFORE, **settings, AIRFLOW_REDIS_PASSWORD=secrets.token_urlsafe(12))
    stack.up("airflow-redis", "airflow-worker")
    assert stack.health("airflow-worker") == "healthy"
    stack.back_up()
    hosts = (
        "SELECT DISTINCT hostname FROM task_instance WHERE hostname <> '' AND run_id = "
        "(SELECT run_id FROM dag_run WHERE dag_id = 'critical_backup' ORDER BY id DESC LIMIT 1)"
    )
    assert stack.query(hosts) == [stack.run("airflow-worker", "python", "-c", "import socket; print(socket.getfqdn())")]
