"""Clearing: every task of a run can be run again, or says exactly which earlier task to clear as well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from tests.fix_airflow import TASKS, LocalAirflow, MakeSite, RunResult, Site

FROM_THE_START = "clear create_workspace together with everything downstream"
FROM_THE_EXPORT = "clear export_database with everything downstream"

# A finished run has removed its workspace: what works in it needs create_workspace first.
IN_THE_WORKSPACE = TASKS[TASKS.index("check_prerequisites") : TASKS.index("verify_archive")]
FINISHED = [
    pytest.param(task, downstream, id=f"{task}-{'with-downstream' if downstream else 'alone'}")
    for task in TASKS
    for downstream in (False, True)
]
ADMINS = ("admin1@example.com", "admin2@example.com")


@pytest.fixture(scope="module")
def shared_site(airflow: LocalAirflow, make_site: MakeSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One site for all tests here: each adds an archive, and none may touch those of the tests before it."""
    with make_site(tmp_path_factory.mktemp("clearing")) as site, pytest.MonkeyPatch.context() as patch:
        for name, value in site.environment.items():
            patch.setenv(name, value)
        airflow.load_dag()
        yield site


@pytest.fixture(scope="module")
def finished_runs() -> list[RunResult]:
    """The runs that finished_run has given."""
    return []


@pytest.fixture
def finished_run(airflow: LocalAirflow, shared_site: Site, finished_runs: list[RunResult]) -> RunResult:
    """A run whose every task succeeded (or was skipped) and whose archive is there: the last one if it still is."""
    for run in finished_runs[-1:]:
        states = airflow.run(run.run_id).states
        name = airflow.stored_texts(run.run_id).get("XCom verify_archive return_value")
        if set(states.values()) <= {"success", "skipped"} and name in shared_site.archives:
            return run
    finished_runs.append(airflow.run(airflow.trigger(reason="to be cleared")))
    assert finished_runs[-1].state == "success"
    return finished_runs[-1]


def only_error(result: RunResult) -> str:
    """Return the message of the one task that failed; it is one line."""
    (error,) = result.errors.values()
    assert "\n" not in str(error)
    return str(error)


@pytest.mark.parametrize(("task", "downstream"), FINISHED)
def test_cleared_task_of_a_finished_run_works_or_names_the_task_to_clear(
    airflow: LocalAirflow, shared_site: Site, finished_run: RunResult, task: str, *, downstream: bool
) -> None:
    """Whatever happens, no archive that was there is changed; and the advice that is given helps."""
    archives, mails = shared_site.archives, len(shared_site.backup_mails)
    cleared = airflow.clear(finished_run.run_id, task, downstream=downstream)
    assert (task in cleared, len(cleared) > 1) == (True, downstream and task != "remove_workspace")
    result = airflow.run(finished_run.run_id)
    if task in IN_THE_WORKSPACE:
        # The state of a run is that of its leaf: cleared alone, a red task leaves a green run.
        assert (result.states[task], result.state) == ("failed", "failed" if downstream else "success")
        assert set(result.errors) == {task}
        assert FROM_THE_START in only_error(result)
        assert shared_site.archives == archives
        airflow.clear(finished_run.run_id, "create_workspace", downstream=True)
        result = airflow.run(finished_run.run_id)
    assert (result.state, result.errors) == ("success", {})
    anew = task in IN_THE_WORKSPACE or (task, downstream) == ("create_workspace", True)
    now = shared_site.archives
    assert archives.items() <= now.items()
    assert len(now) - len(archives) == (1 if anew else 0)
    assert len(shared_site.backup_mails) - mails == (1 if anew else 0), "nobody gets the same mail twice"


def test_new_archive_of_a_cleared_run_is_the_one_that_is_mailed(
    airflow: LocalAirflow, shared_site: Site, finished_run: RunResult
) -> None:
    """The mail after clearing brings the new archive, not the first."""
    before = shared_site.archives
    airflow.clear(finished_run.run_id, "create_workspace", downstream=True)
    airflow.run(finished_run.run_id)
    (new,) = shared_site.archives.keys() - before.keys()
    assert f'filename="{new}"'.encode() in shared_site.backup_mails[-1].read_bytes()


@pytest.mark.parametrize("task", ["write_summary", "compress_archive"])
def test_step_cleared_in_an_empty_workspace_names_the_task_to_clear(
    airflow: LocalAirflow, shared_site: Site, finished_run: RunResult, task: str
) -> None:
    """Somebody cleared create_workspace alone, then a later step alone."""
    airflow.clear(finished_run.run_id, "create_workspace")
    assert airflow.run(finished_run.run_id).state == "success"
    airflow.clear(finished_run.run_id, task)
    assert "clear export_database as well" in only_error(airflow.run(finished_run.run_id))


def test_steps_cleared_alone_one_after_the_other_make_a_new_archive(
    airflow: LocalAirflow, shared_site: Site, finished_run: RunResult
) -> None:
    """Each works with what those before it have left; the one that misses something says what."""
    archives, run_id = shared_site.archives, finished_run.run_id
    for task in TASKS[: TASKS.index("compress_archive")]:
        airflow.clear(run_id, task)
        assert airflow.run(run_id).errors == {}
    airflow.clear(run_id, "verify_archive")
    assert "clear compress_archive as well" in only_error(airflow.run(run_id))
    airflow.clear(run_id, "compress_archive", downstream=True)
    assert airflow.run(run_id).state == "success"
    assert archives.items() < shared_site.archives.items()


def test_finished_run_whose_archive_has_gone_says_so(airflow: LocalAirflow, shared_site: Site) -> None:
    """Clearing the mail of a run that expired fails with the task to clear."""
    finished_run = airflow.run(airflow.trigger(reason="to expire"))
    name = airflow.stored_texts(finished_run.run_id)["XCom verify_archive return_value"]
    (shared_site.backup_dir / name).unlink()
    (shared_site.backup_dir / name.replace(".tar.gz", ".manifest.json")).unlink()
    for task in ("update_status", "email_attachment", "choose_delivery", "check_size", "verify_archive"):
        airflow.clear(finished_run.run_id, task)
        result = airflow.run(finished_run.run_id)
        assert result.states[task] == "failed"
        assert FROM_THE_START in only_error(result)


def test_old_run_cleared_later_does_not_put_the_status_back(
    airflow: LocalAirflow, shared_site: Site, finished_run: RunResult
) -> None:
    """The status tells of the newest archive, whatever is run again."""
    airflow.run(airflow.trigger(deliver_mail=False))
    status = (shared_site.backup_dir / ".last_backup_success").read_text()
    airflow.clear(finished_run.run_id, "update_status", downstream=True)
    assert airflow.run(finished_run.run_id).state == "success"
    assert (shared_site.backup_dir / ".last_backup_success").read_text() == status


def test_archive_changed_on_the_disk_is_noticed_when_verify_is_cleared(
    airflow: LocalAirflow, shared_site: Site, finished_run: RunResult
) -> None:
    """Cleared alone it verifies the archive on the disk again."""
    archive = shared_site.backup_dir / airflow.stored_texts(finished_run.run_id)["XCom verify_archive return_value"]
    content = archive.read_bytes()
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 1
    archive.write_bytes(damaged)
    airflow.clear(finished_run.run_id, "verify_archive")
    assert "do not restore from it" in only_error(airflow.run(finished_run.run_id))
    archive.write_bytes(content)


@pytest.mark.parametrize("task", TASKS[: TASKS.index("email_link")])
def test_task_cleared_with_downstream_after_a_failed_mail_works_or_names_the_task_to_clear(
    airflow: LocalAirflow, shared_site: Site, task: str
) -> None:
    """The archive was published; its parts are in it, so another one of this run takes another export."""
    refusals = cast("dict[str, str]", shared_site.mailbox.refusals)
    refusals.update(dict.fromkeys(ADMINS, "550 no such user"))
    failed = airflow.run(airflow.trigger())
    refusals.clear()
    assert (failed.state, set(failed.errors)) == ("failed", {"email_attachment"})
    archives, mails = shared_site.archives, len(shared_site.backup_mails)
    airflow.clear(failed.run_id, task, downstream=True)
    result = airflow.run(failed.run_id)
    if task in ("copy_configuration", "write_summary", "compress_archive"):
        assert (result.state, set(result.errors)) == ("failed", {"compress_archive"})
        assert FROM_THE_EXPORT in only_error(result)
        assert shared_site.archives == archives
        airflow.clear(failed.run_id, "export_database", downstream=True)
        result = airflow.run(failed.run_id)
    assert (result.state, result.errors) == ("success", {})
    new = shared_site.archives.keys() - archives.keys()
    assert archives.items() <= shared_site.archives.items()
    assert len(new) == (1 if TASKS.index(task) < TASKS.index("verify_archive") else 0)
    assert len(shared_site.backup_mails) - mails == 1


def test_mail_server_that_is_down_is_tried_four_times_and_later_needs_no_new_export(
    airflow: LocalAirflow, shared_site: Site
) -> None:
    """Three more tries with growing pauses, then the run fails; clearing the mail with downstream finishes it."""
    shared_site.mailbox.stop()
    try:
        failed = airflow.run_through_retries(airflow.trigger(), within_seconds=40)
    finally:
        shared_site.mailbox.start()
    assert (failed.state, failed.states["email_attachment"]) == ("failed", "failed")
    assert failed.tries["email_attachment"] == 4
    archives, mails = shared_site.archives, len(shared_site.backup_mails)
    airflow.clear(failed.run_id, "email_attachment", downstream=True)
    result = airflow.run(failed.run_id)
    assert result.state == "success"
    assert result.ran == ["email_attachment", "update_status", "expire_old_backups", "remove_workspace"]
    assert shared_site.archives == archives
    assert len(shared_site.backup_mails) - mails == 1


def test_mail_server_that_comes_back_gets_the_mail_at_the_next_try(airflow: LocalAirflow, shared_site: Site) -> None:
    """Nobody has to clear anything."""
    shared_site.mailbox.stop()
    run_id = airflow.trigger()
    waiting = airflow.run(run_id)
    shared_site.mailbox.start()
    assert (waiting.state, waiting.states["email_attachment"]) == ("running", "up_for_retry")
    result = airflow.run_through_retries(run_id, within_seconds=20)
    assert (result.state, result.tries["email_attachment"]) == ("success", 2)
