"""The disk fills, or the task is killed, while the archive is encrypted or copied to its second place."""

from __future__ import annotations

import dataclasses
import random
import signal
import time
from pathlib import Path

import pytest

from include.backup.archive_name import sidecar_path
from include.backup.copy_record import read_copy
from tests.faults.test_server import assert_failed
from tests.fix_age import KeyPair, make_key_pair
from tests.fix_disks import MakeDisk, fill, free
from tests.fix_faults import FaultSite, MakeFaultSite
from tests.one_backup import STEPS

KILLS = 6
HALF_OF_THE_ARCHIVE = 250_000


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    """The key that archives are encrypted for; the site has its public half only."""
    return make_key_pair(tmp_path_factory.mktemp("keys"), "key")


@pytest.fixture
def make_encrypting_site(make_fault_site: MakeFaultSite, pair: KeyPair) -> MakeFaultSite:
    """Give a maker of sites that encrypt."""

    def make(**settings: str) -> FaultSite:
        return dataclasses.replace(make_fault_site(BACKUP_AGE_RECIPIENTS=pair.public, **settings), key=pair.file)

    return make


def assert_encrypted(site: FaultSite, name: str) -> None:
    """Assert that only the encrypted archive is left; that the key opens it the site has seen."""
    assert name.endswith(".age")
    assert name in site.published
    assert name.removesuffix(".age") not in site.published


def test_full_disk_while_encrypting_leaves_no_half_and_no_name(
    make_encrypting_site: MakeFaultSite, make_disk: MakeDisk
) -> None:
    """The plain archive stays in the workspace; with room again, clearing the step is enough."""
    site = make_encrypting_site(BACKUP_DIR=str(make_disk()))
    run_id = site.prepare("verify_archive")
    fill(site.backup_dir, leave=HALF_OF_THE_ARCHIVE)
    before = site.before()
    ended = site.start_from("verify_archive", run_id).end()
    site.assert_unharmed(before)
    assert [path.name for path in site.backup_dir.rglob("*.partial*")] == ["archive.tar.gz.partial"]
    free(site.backup_dir)
    assert_failed(ended, "verify_archive", "AirflowFailException", "No space left on device: ", "make room")
    assert_encrypted(site, site.clear("verify_archive", run_id).archive)


def test_task_killed_while_encrypting_leaves_no_half_and_can_be_cleared(make_encrypting_site: MakeFaultSite) -> None:
    """As soon as there is something encrypted, and a moment later."""
    site, dice = make_encrypting_site(), random.Random(6)  # noqa: S311 - the same moments
    killed = 0
    for number in range(3):
        run_id, before = site.prepare("verify_archive"), site.before()
        old = set(site.backup_dir.rglob("*.age"))
        run = site.start_from("verify_archive", run_id)
        run.wait_for("verify_archive")
        while run.process.is_alive() and not set(site.backup_dir.rglob("*.age")) - old:
            pass  # half of it is there for some milliseconds
        time.sleep(number * dice.uniform(0, 0.01))
        run.kill(signal.SIGKILL)
        killed += run.end() is None
        site.assert_unharmed(before)
        again = site.start_from("verify_archive" if run.said[-1] == "verify_archive" else "create_workspace", run_id)
        ended = again.end()
        assert ended is not None
        assert ended.error == ""
        site.assert_unharmed(before, workspaces=0)
        assert_encrypted(site, ended.archive)
    assert killed > 0


def test_task_killed_while_copying_completes_the_copy_when_it_is_cleared(
    make_fault_site: MakeFaultSite, tmp_path: Path
) -> None:
    """What the second place shows under an archive's name is the whole archive; the manifest comes last."""
    place = tmp_path / "second"
    place.mkdir(mode=0o700)
    site, dice = make_fault_site(BACKUP_COPY_URL=place.as_uri()), random.Random(6)  # noqa: S311 - the same moments
    run_id, killed = site.prepare("check_size"), 0
    (name,) = site.published
    archive, before = site.backup_dir / name, site.before()
    for _ in range(KILLS):
        run = site.start(run_id, steps=("copy_archive",))
        run.wait_for("copy_archive")
        time.sleep(dice.uniform(0, 0.03))
        run.kill(signal.SIGKILL)
        killed += run.end() is None
        site.assert_files(before)
        if (place / name).exists():
            assert (place / name).read_bytes() == archive.read_bytes()
        if sidecar_path(place / name).exists():
            assert (place / name).exists()
    assert killed > 0
    ended = site.back_up(run_id, steps=("copy_archive", *STEPS[STEPS.index("check_size") :]))
    assert ended.error == ""
    assert sorted(path.name for path in place.iterdir()) == sorted((name, sidecar_path(archive).name))
    assert (place / name).read_bytes() == archive.read_bytes()
    assert read_copy(archive) is not None
