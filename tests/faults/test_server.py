"""The server is stopped, slow, cut off or in use, or changes under the export."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from include.backup.database import APPLICATION_NAME
from tests.fix_faults import FaultSite, routed
from tests.fix_proxy import Proxy
from tests.one_backup import Ended

NO_BYTE, EXPORTED = 0, "copy_configuration"


def assert_failed(ended: Ended | None, step: str, kind: str, *words: str) -> None:
    """Assert that a run failed in a step, once for all or for now, with one line that has all the words."""
    assert ended is not None
    assert (ended.step, ended.kind) == (step, kind), ended
    assert ended.error.splitlines() == [ended.error]
    assert [word for word in words if word not in ended.error] == [], ended.error


@contextmanager
def slow_export(site: FaultSite, run_id: str, bytes_per_second: int = 2_000_000) -> Iterator[Callable[[], Ended]]:
    """Export over a slow line, so that there is a middle; give the function that waits for the end."""
    with Proxy(site.server.host, site.server.port, bytes_per_second=bytes_per_second) as proxy:
        run = site.start_from("export_database", run_id, environment=routed(site, proxy.port))
        deadline = time.monotonic() + 20
        while not site.processes("psql"):
            assert time.monotonic() < deadline
            time.sleep(0.02)

        def end() -> Ended:
            ended = run.end()
            assert ended is not None
            return ended

        yield end


def sessions_that_lock(site: FaultSite, table: str) -> int:
    """Return how many sessions hold a lock on a table."""
    with psycopg.connect(site.server.conninfo(site.database)) as session:
        query = "SELECT count(DISTINCT pid) FROM pg_locks WHERE relation = %s::regclass AND granted"
        return int(session.execute(query, [table]).fetchone()[0])  # type: ignore[index]


def test_server_stopped_before_the_export_may_pass(fault_site: FaultSite) -> None:
    """Nothing can be exported, and nothing is there that looks so; when the server is back the run goes on."""
    before, run_id = fault_site.before(), fault_site.prepare("export_database")
    fault_site.server.stop()
    ended = fault_site.start_from("export_database", run_id).end()
    fault_site.server.start()
    assert_failed(ended, "export_database", "TemporaryError", "cannot reach", "onnection refused")
    fault_site.assert_unharmed(before)
    fault_site.assert_next_succeeds(run_id)


@pytest.mark.parametrize("restarted", [False, True], ids=["stopped", "restarted"])
def test_server_stopped_during_the_export_may_pass(fault_site: FaultSite, *, restarted: bool) -> None:
    """The export fails, though the server may be back before it has noticed: the snapshot is gone."""
    before, run_id = fault_site.before(), fault_site.prepare("export_database")
    with slow_export(fault_site, run_id) as end:
        fault_site.server.stop()
        if restarted:
            fault_site.server.start()
        ended = end()
    if not restarted:
        fault_site.server.start()
    assert_failed(ended, "export_database", "TemporaryError")
    fault_site.assert_unharmed(before)
    fault_site.assert_next_succeeds(run_id)


def test_server_stopped_after_the_export_is_not_missed(fault_site: FaultSite) -> None:
    """All later steps work on the disk alone."""
    before, run_id = fault_site.before(), fault_site.prepare(EXPORTED)
    fault_site.server.stop()
    ended = fault_site.start_from(EXPORTED, run_id).end()
    fault_site.server.start()
    assert ended is not None
    assert ended.error == ""
    fault_site.assert_unharmed(before, workspaces=0)


def test_connection_cut_at_any_byte_may_pass(fault_site: FaultSite) -> None:
    """However much of the answers had arrived, half a table is never taken for a whole one."""
    with Proxy(fault_site.server.host, fault_site.server.port) as proxy:
        fault_site.assert_next_succeeds(environment=routed(fault_site, proxy.port))
    before, run_id = fault_site.before(), fault_site.prepare("export_database")
    dice = random.Random(6)  # noqa: S311 - the same bytes every time
    for cut_after in [NO_BYTE, *sorted(dice.randrange(proxy.carried // 2) for _ in range(5))]:
        with Proxy(fault_site.server.host, fault_site.server.port, cut_after=cut_after) as cut:
            way = routed(fault_site, cut.port)
            ended = fault_site.start(run_id, steps=("export_database",), environment=way).end()
        assert_failed(ended, "export_database", "TemporaryError")
        fault_site.assert_unharmed(before)
        parts = fault_site.backup_dir / ".work"
        assert list(parts.glob("*/export/*.gz")) == [], "nothing of a failed export is of use"
    fault_site.assert_next_succeeds(run_id)


def test_slow_server_only_takes_longer(fault_site: FaultSite) -> None:
    """A line of 2 MB/s: the archive is the same kind of archive."""
    with Proxy(fault_site.server.host, fault_site.server.port, bytes_per_second=2_000_000) as proxy:
        fault_site.assert_next_succeeds(environment=routed(fault_site, proxy.port))


def test_time_outs_of_the_role_do_not_end_a_backup(fault_site: FaultSite) -> None:
    """Statements, locks, transactions and idle sessions may have a millisecond each: the backup's have their own."""
    role = fault_site.environment["POSTGRES_USER"]
    names = ("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout", "idle_session_timeout")
    fault_site.sql(*(f"ALTER ROLE {role} SET {name} = '20ms'" for name in names))
    fault_site.sql(f"ALTER ROLE {role} SET transaction_timeout = '100ms'")
    try:
        fault_site.assert_next_succeeds()
    finally:
        fault_site.sql(f"ALTER ROLE {role} RESET ALL")


@pytest.mark.parametrize(
    ("function", "words"),
    [("pg_cancel_backend", "canceling statement"), ("pg_terminate_backend", "")],
)
def test_sessions_ended_by_an_admin_may_pass(fault_site: FaultSite, function: str, words: str) -> None:
    """As a time-out of the server's own does it."""
    before, run_id = fault_site.before(), fault_site.prepare("export_database")
    with fault_site.holding("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE"):
        run = fault_site.start_from("export_database", run_id, lock_wait_milliseconds=60_000)
        with psycopg.connect(fault_site.server.conninfo(), autocommit=True) as admin:
            query = f"SELECT {function}(pid) FROM pg_stat_activity WHERE application_name = %s"
            waiting = f"{query} AND wait_event_type = 'Lock'"
            deadline = time.monotonic() + 20
            while not admin.execute(waiting.encode(), [APPLICATION_NAME]).fetchall():
                assert time.monotonic() < deadline
        ended = run.end()
    assert_failed(ended, "export_database", "TemporaryError", words)
    fault_site.assert_unharmed(before)
    fault_site.assert_next_succeeds(run_id)


@pytest.mark.parametrize("table", ["users", "sessions"], ids=["in-scope", "out-of-scope"])
def test_locked_table_is_named_with_its_holder(fault_site: FaultSite, table: str) -> None:
    """The export waits its time, then says which table is held, and by which session."""
    before, run_id = fault_site.before(), fault_site.prepare("export_database")
    with fault_site.holding(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"):
        ended = fault_site.start_from("export_database", run_id).end()
    words = ("timeout", f"locked now: public.{table} by session")
    assert_failed(ended, "export_database", "TemporaryError", *words)
    fault_site.assert_unharmed(before)
    fault_site.assert_next_succeeds(run_id)


def test_locked_table_does_not_hold_up_the_check(fault_site: FaultSite) -> None:
    """check_prerequisites says so after three seconds, not after a minute."""
    before = fault_site.before()
    with fault_site.holding("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"):
        started = time.monotonic()
        ended = fault_site.back_up(lock_wait_milliseconds=60_000)
        assert time.monotonic() - started < 20
    assert_failed(ended, "check_prerequisites", "TemporaryError", "locked now: public.users by session")
    fault_site.assert_unharmed(before)
    fault_site.assert_next_succeeds("manual__" + str(fault_site.runs))


def test_privileges_revoked_after_the_check_fail_at_once(fault_site: FaultSite) -> None:
    """No waiting gives them back; which table is named."""
    role = fault_site.environment["POSTGRES_USER"]
    before, run_id = fault_site.before(), fault_site.prepare("export_database")
    fault_site.sql(f"REVOKE pg_read_all_data FROM {role}", f"GRANT SELECT ON users TO {role}")
    ended = fault_site.start_from("export_database", run_id).end()
    fault_site.sql(f"REVOKE SELECT ON users FROM {role}", f"GRANT pg_read_all_data TO {role}")
    assert_failed(ended, "export_database", "AirflowFailException", "permission denied for table payments")
    fault_site.assert_unharmed(before)
    fault_site.assert_next_succeeds(run_id)


def test_table_in_scope_cannot_change_during_the_export(fault_site: FaultSite) -> None:
    """TRUNCATE, ALTER and DROP wait until the rows are out: what the archive has is what the snapshot had."""
    run_id = fault_site.prepare("export_database")
    changed: list[str] = []

    def change() -> None:
        fault_site.sql("TRUNCATE payments")
        changed.append("TRUNCATE")

    with slow_export(fault_site, run_id, 400_000) as end:
        # Whoever asks for a lock after TRUNCATE has, waits behind it: every session that reads must have its own.
        deadline = time.monotonic() + 60
        dumped = "*/export/constraints.sql.gz"  # the last of pg_dump, which comes when references were followed
        while (
            not list((fault_site.backup_dir / ".work").glob(dumped))
            or fault_site.processes("pg_dump")
            or sessions_that_lock(fault_site, "payments") < 2
        ):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        thread = threading.Thread(target=change)
        thread.start()
        time.sleep(0.3)
        assert changed == []
        ended = end()
    thread.join()
    fault_site.sql(
        "INSERT INTO payments SELECT n, 1 + n % 2000, md5(n::text) || md5((-n)::text), now() "
        "FROM generate_series(1, 12000) n"
    )
    assert ended.error == ""
    from include.backup.manifest import read_sidecar  # noqa: PLC0415

    rows = {table.name: table.rows for table in read_sidecar(fault_site.backup_dir / ended.archive).tables}
    assert rows == {"users": 2000, "payments": 12000}


@pytest.mark.parametrize(
    ("change", "back"),
    [
        ("ALTER TABLE sessions ADD COLUMN later int", "ALTER TABLE sessions DROP COLUMN later"),
        ("TRUNCATE sessions", "SELECT 1"),
        ("ALTER TABLE users RENAME TO people", "ALTER TABLE people RENAME TO users"),
    ],
    ids=["altered", "truncated", "renamed"],
)
def test_table_changed_between_check_and_export_is_noticed_or_harmless(
    fault_site: FaultSite, change: str, back: str
) -> None:
    """The export looks again: a table in scope that has gone is an error, another's new column is in its schema."""
    before, run_id = fault_site.before(), fault_site.prepare("export_database")
    fault_site.sql(change)
    ended = fault_site.start_from("export_database", run_id).end()
    fault_site.sql(back)
    if "RENAME" not in change:
        assert ended is not None
        assert ended.error == ""
        fault_site.assert_unharmed(before, workspaces=0)
        return
    assert_failed(ended, "export_database", "AirflowFailException", "not in the database: users")
    fault_site.assert_unharmed(before)
    fault_site.assert_next_succeeds(run_id)


def test_server_that_crashes_may_pass(fault_site: FaultSite) -> None:
    """A backend is killed, so the server restarts all of them; it recovers by itself, and so does the next try."""
    before, run_id = fault_site.before(), fault_site.prepare("export_database")
    with slow_export(fault_site, run_id) as end:
        with pytest.raises(psycopg.OperationalError):
            fault_site.sql("COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; kill -ABRT $PPID'")
        ended = end()
    fault_site.server.stop()
    fault_site.server.start()
    assert_failed(ended, "export_database", "TemporaryError")
    fault_site.assert_unharmed(before)
    fault_site.assert_next_succeeds(run_id)
