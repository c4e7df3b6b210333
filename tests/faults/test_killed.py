"""A task's process, or a program that it has started, is killed."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from include.backup.leash import _setpriv
from tests.fix_faults import LOST_CANCELLATION_SECONDS, FaultSite, MakeFaultSite, routed
from tests.fix_proxy import Proxy
from tests.one_backup import STEPS

KILLS = int(os.environ.get("KILLS", "33"))
SEED = int(os.environ.get("KILLS_SEED", "6"))
KILLS_OF_A_SITE = 100  # what they leave makes each next run slower
CLEARED = 0.3  # so many of the killed runs are cleared; the others are given up
MINUTE = 60_000
needs_setpriv = pytest.mark.skipif(_setpriv() is None, reason="setpriv of util-linux is missing")


def wait_for(site: FaultSite, program: str) -> int:
    """Return the process of a program of the product, once it runs."""
    deadline = time.monotonic() + 20
    while not (found := site.processes(program)):
        assert time.monotonic() < deadline, f"no {program}"
        time.sleep(0.01)
    return next(iter(found))


def wait_for_work(site: FaultSite, program: str) -> int:
    """Return one that is at work: what reads a small table is gone when it is looked for again."""
    deadline = time.monotonic() + 20
    while True:
        pid = wait_for(site, program)
        time.sleep(0.2)
        if pid in site.processes(program):
            return pid
        assert time.monotonic() < deadline, f"no {program} that stays"


def test_task_killed_at_any_moment_harms_nothing_and_can_be_cleared(make_fault_site: MakeFaultSite) -> None:
    """SIGKILL, at moments of every step; KILLS=2000 for more of them, KILLS_SEED for others."""
    dice = random.Random(SEED)  # noqa: S311 - the same moments every time
    killed = 0
    for first in range(0, KILLS, KILLS_OF_A_SITE):
        site = make_fault_site()
        assert site.back_up().error == ""
        killed += sum(kill_a_run(site, dice, number) for number in range(first, min(first + KILLS_OF_A_SITE, KILLS)))
        site.assert_next_succeeds()
        done = min(first + KILLS_OF_A_SITE, KILLS)
        print(f"{killed} of {done} runs were killed before their end; {len(site.published)} archives, all verified")
    assert killed > KILLS / 2


def kill_a_run(site: FaultSite, dice: random.Random, number: int) -> bool:
    """Kill a new run, look, and clear some of those that were hit; return whether it was before the run's end."""
    before = site.before()
    run = site.start()
    step = STEPS[number % len(STEPS)]
    if dice.random() < 0.8:
        run.wait_for(step)
        time.sleep(dice.expovariate(1 / (0.5 if step == "export_database" else 0.01)))
    else:
        time.sleep(dice.uniform(0, 1.5))
    run.kill(signal.SIGKILL)
    ended = run.end()
    site.assert_unharmed(before)
    if ended is None and dice.random() < CLEARED:
        last = run.said[-1] if run.said else STEPS[0]
        cleared = site.start_from(last, run.order.run_id).end()
        assert cleared is not None
        assert (last, cleared.error) == (last, "")
        site.assert_unharmed(before, workspaces=0)
    return ended is None


@needs_setpriv
def test_program_that_waits_for_a_lock_ends_with_its_killed_task(fault_site: FaultSite) -> None:
    """psql and pg_dump do not wait on for a minute: while the lock is still held they and their sessions are gone."""
    before, run_id = fault_site.before(), fault_site.prepare("export_database")
    with fault_site.holding("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE"):
        run = fault_site.start_from("export_database", run_id, lock_wait_milliseconds=MINUTE)
        wait_for(fault_site, "pg_dump")
        time.sleep(0.5)
        run.kill(signal.SIGKILL)
        assert run.end() is None
        fault_site.assert_unharmed(before)
    fault_site.assert_next_succeeds(run_id)


def test_session_of_a_killed_task_does_not_wait_for_a_lock(fault_site: FaultSite) -> None:
    """The session that holds the snapshot waits itself: the server notices that its client is gone."""
    before, run_id = fault_site.before(), fault_site.prepare("export_database")
    with fault_site.holding("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"):
        run = fault_site.start_from("export_database", run_id, lock_wait_milliseconds=MINUTE)
        run.wait_for("export_database")
        time.sleep(0.5)
        run.kill(signal.SIGKILL)
        assert run.end() is None
        fault_site.assert_unharmed(before)
    fault_site.assert_next_succeeds(run_id)


def test_task_terminated_in_the_export_ends_soon_and_can_be_tried_again(fault_site: FaultSite) -> None:
    """SIGTERM is Airflow's first word: queries are cancelled, the error is one that another try may mend."""
    before, run_id = fault_site.before(), fault_site.prepare("export_database")
    with fault_site.holding("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE"):
        run = fault_site.start_from("export_database", run_id, lock_wait_milliseconds=MINUTE)
        wait_for(fault_site, "pg_dump")
        started = time.monotonic()
        run.kill(signal.SIGTERM)
        ended = run.end()
        assert time.monotonic() - started < 30  # the lock is waited for a minute
        assert ended is not None
        assert (ended.step, ended.kind) == ("export_database", "TemporaryError")
        assert "cancelled" in ended.error
        fault_site.assert_unharmed(before, server_seconds=LOST_CANCELLATION_SECONDS)
    fault_site.assert_next_succeeds(run_id)


@pytest.mark.parametrize("request_", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("program", ["psql", "pg_dump"])
def test_program_that_is_killed_fails_the_export_for_now(
    fault_site: FaultSite, program: str, request_: signal.Signals
) -> None:
    """A half stream of rows is never taken for a whole one; another try may help."""
    before, run_id = fault_site.before(), fault_site.prepare("export_database")
    with Proxy(fault_site.server.host, fault_site.server.port, bytes_per_second=500_000) as proxy:
        way = routed(fault_site, proxy.port)
        run = fault_site.start_from("export_database", run_id, environment=way)
        os.kill(wait_for_work(fault_site, program), request_)
        ended = run.end()
    assert ended is not None
    assert (ended.step, ended.kind) == ("export_database", "TemporaryError"), ended
    fault_site.assert_unharmed(before)
    fault_site.assert_next_succeeds(run_id)
