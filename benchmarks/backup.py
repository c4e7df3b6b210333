"""One archive of the source, by the steps of the backup itself, each with its seconds."""

from __future__ import annotations

import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.programs import Stage
from benchmarks.source import HISTORY_ENDS, MONTHS, TIMEZONE, WINDOW_BEGINS
from include.backup.archive import compress_archive, publish
from include.backup.configuration import copy_configuration
from include.backup.export import Export
from include.backup.run import BackupRun, create_workspace, remove_workspace
from include.backup.scope import load_scope
from include.backup.selection import Selection, require_tables, select_rows
from include.backup.settings import PACKAGED_SCOPE_FILE
from include.backup.summary import SummaryInput, write_summary
from include.backup.verify import verify_archive
from include.demo.sample import write_sample_configuration

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.server import BenchmarkServer
    from include.backup.catalog import Catalog
    from include.backup.manifest import Sidecar
    from include.backup.scope import Scope

__all__ = ["back_up", "plan_rows", "timed"]

PARALLEL = 2


def back_up(server: BenchmarkServer, folder: Path) -> tuple[Path, Sidecar, tuple[Stage, ...]]:
    """
    Back the source up as the nightly DAG does, with the package's scope and settings.

    Args:
        server: Holds the source.
        folder: Becomes BACKUP_DIR; must exist.

    Returns:
        The verified archive, its manifest, and the seconds of export, archive and verify, its name given included.
    """
    run = BackupRun("manual__benchmark", "manual", HISTORY_ENDS)
    scope = load_scope(PACKAGED_SCOPE_FILE)
    workspace = create_workspace(run, folder)
    summary, export, configuration = (workspace / name for name in ("summary", "export", "configuration"))
    for part in (summary, export, configuration):
        part.mkdir()
    stages: list[Stage] = []
    with timed(stages, "export"):
        exported = Export(server.database(), server.clients, export, parallel=PARALLEL).run(
            partial(plan_rows, scope), cut_off=WINDOW_BEGINS
        )
    write_sample_configuration(workspace / "files")
    copied = copy_configuration(scope, workspace / "files", configuration)
    steps = SummaryInput(exported, copied, ())
    with timed(stages, "archive"):
        written = write_summary(run, steps, summary, timezone_name=TIMEZONE, configuration_dir=workspace / "files")
        parts = [(summary, written.parts), (export, exported.parts), (configuration, copied.parts)]
        unverified = compress_archive(workspace, parts, modified_at=exported.snapshot_at)
    with timed(stages, "verify"):
        verified = verify_archive(unverified, written.manifest)
        sidecar = publish(unverified, written.manifest, sha256=verified.archive_sha256, backup_dir=folder)
    remove_workspace(run, folder)
    return folder / sidecar.archive, sidecar, tuple(stages)


@contextmanager
def timed(stages: list[Stage], name: str) -> Iterator[None]:
    """Add how long the context lasted."""
    started = time.monotonic()
    yield
    stages.append(Stage(name, time.monotonic() - started))


def plan_rows(scope: Scope, catalog: Catalog) -> tuple[Selection, ...]:
    """Return what is taken, the window ending where the source's history ends."""
    require_tables(catalog, scope)
    return select_rows(catalog, scope, cut_off_for=lambda _: WINDOW_BEGINS, default_months=MONTHS)
