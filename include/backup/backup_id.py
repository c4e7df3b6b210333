"""Which backup: one database has one without an id; each that `backups:` in scope.yaml adds has an id of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

CHECKPOINTS = "checkpoints"
LONGEST_ID = 31 + len(f"_{CHECKPOINTS}")
_ID = r"(?!critical_backup)[a-z][a-z0-9_]{0,30}"
# Of a backup that scope.yaml names, and of any: those of checkpoints are made from their backups'.
ID = re.compile(rf"(?!(?:.*_)?{CHECKPOINTS}$){_ID}")
ANY_ID = re.compile(rf"{_ID}(?:_{CHECKPOINTS})?")
BACKUP_DAG, DRILL_DAG, RESTORE_DAG = "critical_backup", "restore_drill", "restore_backup"


@dataclass(frozen=True)
class Backup:
    """
    One backup, by which its DAGs, its folder and its page are found.

    Args:
        id: Its key below `backups:`; empty for the one that the top of scope.yaml describes. The checkpoints of a
            backup are one more, `<id>_checkpoints`.
    """

    id: str = ""

    @classmethod
    def of_dag(cls, dag_id: str) -> Backup:
        """Return the backup that a DAG belongs to; the one without an id for a DAG of none, such as backup_watch."""
        for kind in (BACKUP_DAG, DRILL_DAG, RESTORE_DAG):
            backup_id = dag_id.removeprefix(f"{kind}_")
            if backup_id != dag_id and ANY_ID.fullmatch(backup_id):
                return cls(backup_id)
        return cls()

    @property
    def dag_id(self) -> str:
        """The DAG that makes it."""
        return self._with_id(BACKUP_DAG)

    @property
    def drill_dag_id(self) -> str:
        """The DAG that drills its archives."""
        return self._with_id(DRILL_DAG)

    @property
    def restore_dag_id(self) -> str:
        """The DAG that restores them."""
        return self._with_id(RESTORE_DAG)

    @property
    def checkpoints(self) -> Backup:
        """Its checkpoints."""
        return Backup(f"{self.id}_{CHECKPOINTS}" if self.id else CHECKPOINTS)

    @property
    def is_checkpoints(self) -> bool:
        """Whether it is the checkpoints of another."""
        return self.id == CHECKPOINTS or self.id.endswith(f"_{CHECKPOINTS}")

    @property
    def parent(self) -> Backup:
        """The backup whose checkpoints it is, which says what is taken; otherwise itself."""
        return Backup(self.id.removesuffix(CHECKPOINTS).removesuffix("_")) if self.is_checkpoints else self

    @property
    def query(self) -> str:
        """What an address of its pages ends with."""
        return f"?backup={self.id}" if self.id else ""

    def folder(self, backup_dir: Path) -> Path:
        """Return where its archives lie, below BACKUP_DIR."""
        return backup_dir / self.id if self.id else backup_dir

    def named(self, subject: str) -> str:
        """Return a subject or title that says which backup it is about."""
        return f"[{self.id}] {subject}" if self.id else subject

    def _with_id(self, kind: str) -> str:
        return f"{kind}_{self.id}" if self.id else kind


UNNAMED = Backup()
