"""Alerts that have not gone every way."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

from include.backup import unsent as module
from include.backup.notice import Notice
from include.backup.unsent import (
    MAX_UNSENT,
    SENDING_TAKES_AT_MOST,
    SLACK_ALONE_WAITS_AT_MOST,
    Unsent,
    keep_while_sending,
    read_unsent,
    settle,
)

NOW = datetime(2026, 11, 20, 2, 10, tzinfo=timezone.utc)
NOTICE = Notice(state="warning", title="t", text="x", facts=(("a", "b"),), next_steps=("c",), url=None)
ALERT = Unsent(NOTICE, NOW)


def kept(folder: Path, now: datetime | None = None) -> list[Unsent]:
    """Return what waits."""
    return [unsent for _, unsent in read_unsent(folder, now=now or datetime.now(timezone.utc))]


def test_alert_waits_for_the_ways_that_have_not_taken_it(tmp_path: Path) -> None:
    """As it was, without the way that has; when no way is left, nothing of it is."""
    path = keep_while_sending(tmp_path, ALERT)
    assert path is not None
    settle(path, replace(ALERT, channels=("mail",)))
    ((path, found),) = read_unsent(tmp_path, now=NOW)
    assert found == replace(ALERT, channels=("mail",))
    settle(path, replace(found, channels=()))
    assert list((tmp_path / module.UNSENT_FOLDER).iterdir()) == []


def test_alert_that_was_sent_at_once_leaves_nothing(tmp_path: Path) -> None:
    """It was kept while it was sent, and no longer."""
    path = keep_while_sending(tmp_path, ALERT)
    assert path is not None
    settle(path, replace(ALERT, channels=()))
    assert list((tmp_path / module.UNSENT_FOLDER).iterdir()) == []


def test_alert_whose_sender_was_killed_is_found_when_it_cannot_be_sending_any_more(tmp_path: Path) -> None:
    """Not before: the watch may look while somebody sends, and would send it a second time."""
    path = keep_while_sending(tmp_path, ALERT)
    assert path is not None
    assert kept(tmp_path) == []
    killed_at = (datetime.now(timezone.utc) - SENDING_TAKES_AT_MOST - timedelta(seconds=5)).timestamp()
    os.utime(path, (killed_at, killed_at))
    ((path, found),) = read_unsent(tmp_path, now=datetime.now(timezone.utc))
    assert found == ALERT
    settle(path, replace(found, channels=("slack",)))
    assert [unsent.channels for unsent in kept(tmp_path)] == [("slack",)]


def test_only_what_slack_alone_lacks_is_given_up(tmp_path: Path) -> None:
    """A mail waits as long as it takes."""
    late = NOW + SLACK_ALONE_WAITS_AT_MOST + timedelta(hours=1)
    assert replace(ALERT, channels=("slack",)).is_given_up(late)
    assert not replace(ALERT, channels=("slack",)).is_given_up(NOW + timedelta(hours=1))
    assert not replace(ALERT, channels=("mail",)).is_given_up(late)
    assert not ALERT.is_given_up(late)


def test_no_more_are_kept_than_the_disk_should_hold(tmp_path: Path) -> None:
    """And one that cannot be read does not hide the others."""
    while path := keep_while_sending(tmp_path, ALERT):
        settle(path, ALERT)
    waiting = list((tmp_path / module.UNSENT_FOLDER).iterdir())
    assert len(waiting) == MAX_UNSENT
    waiting[0].write_text("{")
    assert len(kept(tmp_path)) == MAX_UNSENT - 1
