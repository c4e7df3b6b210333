"""One archive of the source, by the steps of the backup itself, each with its seconds."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.programs import Stage
from benchmarks.server import SOURCE
from benchmarks.source import HISTORY_ENDS, MONTHS, TIMEZONE, WINDOW_BEGINS
from include.backup.archive import compress_archive, publish
from include.backup.clients import Clients
from include.backup.configuration import copy_configuration
from include.backup.database import Database
from include.backup.export import Export, ExportResult
from include.backup.run import BackupRun, create_workspace, remove_workspace
from include.backup.scope import load_scope
from include.backup.selection import Selection, require_tables, select_rows
from include.backup.settings import PACKAGED_SCOPE_FILE
from include.backup.summary import SummaryInput, write_summary
from include.backup.verify import verify_archive
from include.demo.sample import write_sample_configuration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.server import BenchmarkServer
    from include.backup.catalog import Catalog
    from include.backup.manifest import Manifest, Sidecar
    from include.backup.scope import Scope

__all__ = ["RUN", "Steps", "back_up", "plan_rows", "timed"]

RUN = BackupRun("manual__benchmark", "manual", HISTORY_ENDS)
PARALLEL = 2  # BACKUP_PARALLEL's usual value


@dataclass(frozen=True)
class Steps:
    """
    The steps of the nightly DAG, with the package's scope and settings.

    Args:
        database: Holds the source.
        clients: Its psql and pg_dump.
        folder: Is BACKUP_DIR; must exist.
        begin: Where the window begins; it ends where the source's history ends.
    """

    database: Database
    clients: Clients
    folder: Path
    begin: datetime = WINDOW_BEGINS

    @property
    def workspace(self) -> Path:
        """Return where the parts lie; it is made."""
        workspace = create_workspace(RUN, self.folder)
        for part in ("summary", "export", "configuration"):
            (workspace / part).mkdir(exist_ok=True)
        return workspace

    def export(self) -> ExportResult:
        """Write the compressed parts."""
        plan = partial(plan_rows, load_scope(PACKAGED_SCOPE_FILE), begin=self.begin)
        export = Export(self.database, self.clients, self.workspace / "export", parallel=PARALLEL)
        return export.run(plan, cut_off=self.begin)

    def archive(self, exported: ExportResult) -> tuple[Path, Manifest]:
        """Add sample configuration files, manifest and instructions; put everything together."""
        workspace = self.workspace
        summary, configuration, files = (workspace / name for name in ("summary", "configuration", "files"))
        write_sample_configuration(files)
        copied = copy_configuration(load_scope(PACKAGED_SCOPE_FILE), files, configuration)
        steps = SummaryInput(exported, copied, ())
        written = write_summary(RUN, steps, summary, timezone_name=TIMEZONE, configuration_dir=files)
        parts = [(summary, written.parts), (workspace / "export", exported.parts), (configuration, copied.parts)]
        return compress_archive(workspace, parts, modified_at=exported.snapshot_at), written.manifest

    def verify(self, unverified: Path, manifest: Manifest) -> Sidecar:
        """Read everything again, then give the archive its name."""
        sha256 = verify_archive(unverified, manifest).archive_sha256
        return publish(unverified, manifest, sha256=sha256, backup_dir=self.folder)


def back_up(server: BenchmarkServer, folder: Path, source: str = SOURCE) -> tuple[Path, Sidecar, tuple[Stage, ...]]:
    """
    Back the source, or another database like it, up as the nightly DAG does.

    Args:
        server: Holds the source.
        folder: Becomes BACKUP_DIR; must exist.
        source: The database.

    Returns:
        The verified archive, its manifest, and the seconds of export, archive and verify, its name given included.
    """
    steps = Steps(server.database(source), server.clients, folder)
    stages: list[Stage] = []
    with timed(stages, "export"):
        exported = steps.export()
    with timed(stages, "archive"):
        unverified, manifest = steps.archive(exported)
    with timed(stages, "verify"):
        sidecar = steps.verify(unverified, manifest)
    remove_workspace(RUN, folder)
    return folder / sidecar.archive, sidecar, tuple(stages)


@contextmanager
def timed(stages: list[Stage], name: str) -> Iterator[None]:
    """Add how long the context lasted, and what it needed of the processor, without other programs."""
    started, needed_before = time.monotonic(), time.process_time()
    yield
    stages.append(Stage(name, time.monotonic() - started, time.process_time() - needed_before))


def plan_rows(scope: Scope, catalog: Catalog, begin: datetime = WINDOW_BEGINS) -> tuple[Selection, ...]:
    """Return what is taken, the window beginning there."""
    require_tables(catalog, scope)
    return select_rows(catalog, scope, cut_off_for=lambda _: begin, default_months=MONTHS)
