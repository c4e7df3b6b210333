"""Who may read what is written: only its owner; with BACKUP_GROUP one group, too, what BACKUP_DIR holds for it."""

from __future__ import annotations

import grp
import os
import resource
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700
GROUP_FILE = 0o640
GROUP_FOLDER = 0o2750  # set-group-ID: what is made in it belongs to its group
NOBODY_ELSE = 0o077  # as a umask

ARCHIVES = f"critical_backup_{'[0-9]' * 8}_{'[0-9]' * 6}.*"  # and what lies beside them; other files are not ours
NAMES_AT_MOST = 3


def published_mode(folder: Path) -> int:
    """
    Return the mode of archives and of what lies beside them: that of BACKUP_DIR decides, as `folder_errors` wants it.

    The group itself is not to be set: the folder hands it on to what is made in it.
    """
    mode = folder.stat().st_mode
    return GROUP_FILE if _is_shared(mode) else PRIVATE_FILE


def publish_rights(file: Path, folder: Path) -> None:
    """Give a file that is about to move into BACKUP_DIR the group and mode of what is published there."""
    mode = published_mode(folder)
    if mode == GROUP_FILE:
        os.chown(file, -1, folder.stat().st_gid)  # its own folder may be from before there was a group
    file.chmod(mode)


def folder_errors(backup_dir: Path, group: str | None) -> Iterator[str]:
    """
    Yield what is wrong with who may read or change BACKUP_DIR and its archives, each with the command that mends it.

    Args:
        backup_dir: Must be there.
        group: BACKUP_GROUP: a name or a number; None if only the owner shall read.
    """
    facts = backup_dir.stat()
    mode, place = stat.S_IMODE(facts.st_mode), shlex.quote(str(backup_dir))
    if mode & stat.S_IRWXO:
        may = "change" if mode & stat.S_IWOTH else "read"
        yield (
            f"everybody on this machine may {may} BACKUP_DIR={backup_dir} (mode {mode:04o}), and archives hold "
            f"passwords and keys: chmod o-rwx {place}"
        )
    open_files = [path for path in sorted(backup_dir.glob(ARCHIVES)) if _is_open(path)]
    if open_files:
        named = ", ".join(path.name for path in open_files[:NAMES_AT_MOST])
        more = f" and {len(open_files) - NAMES_AT_MOST} more" if len(open_files) > NAMES_AT_MOST else ""
        yield f"everybody on this machine may read {named}{more}: chmod o-rwx {place}/critical_backup_*"
    if group is None:
        if _is_shared(mode):
            yield (
                f"BACKUP_DIR={backup_dir} is for the group {facts.st_gid} (mode {mode:04o}) and BACKUP_GROUP is not "
                f"set: set BACKUP_GROUP={facts.st_gid}, or chmod g-rwxs {place}"
            )
        return
    yield from _group_errors(backup_dir, group)


def _group_errors(backup_dir: Path, group: str) -> Iterator[str]:
    number = _group_number(group)
    if number is None:
        yield f"BACKUP_GROUP={group}: there is no such group on this machine; expected a group's name or number"
    elif os.geteuid() != 0 and number not in (os.getegid(), *os.getgroups()):
        yield (
            f"BACKUP_GROUP={group}: the user that runs Airflow is not in this group, so it cannot give files to it: "
            f"usermod -aG {shlex.quote(group)} USER, then restart the workers"
        )
    elif (facts := backup_dir.stat()).st_gid != number or not _is_shared(facts.st_mode):
        place = shlex.quote(str(backup_dir))
        yield (
            f"BACKUP_GROUP={group} may not read BACKUP_DIR={backup_dir} (group {facts.st_gid}, mode "
            f"{stat.S_IMODE(facts.st_mode):04o}): chgrp {shlex.quote(group)} {place} && chmod {GROUP_FOLDER:o} {place}"
        )


def _group_number(group: str) -> int | None:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return int(group) if group.isascii() and group.isdigit() and len(group) < len(str(2**32)) else None


def _is_shared(mode: int) -> bool:
    wanted = stat.S_ISGID | stat.S_IRGRP | stat.S_IXGRP
    return mode & wanted == wanted


def _is_open(path: Path) -> bool:
    try:
        facts = path.lstat()
    except OSError:
        return False  # it has just expired
    return stat.S_ISREG(facts.st_mode) and bool(facts.st_mode & stat.S_IRWXO)


@contextmanager
def private_process() -> Iterator[None]:
    """
    Let this process and the programs that it starts leave nothing for others: no readable file, no core dump.

    A core dump holds passwords and rows. Where the kernel hands it to a program (core_pattern with `|`), that program
    is told the limit; systemd-coredump keeps none then.
    """
    umask = os.umask(NOBODY_ELSE)
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
        os.umask(umask)
