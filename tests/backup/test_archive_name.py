"""One place knows what an archive and the files beside it are called, encrypted or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.backup.archive_name import (
    ARCHIVE_NAME,
    PLAIN_NAME,
    archive_names,
    companions,
    decrypt_command,
    encrypted_name,
    forms,
    is_encrypted,
    plain_name,
)

PLAIN = "critical_backup_20261120_020004.tar.gz"
ENCRYPTED = PLAIN + ".age"


def test_names_of_both_forms_lead_to_one_another() -> None:
    """Encrypting twice, or decrypting what is plain, changes no name."""
    assert (encrypted_name(PLAIN), encrypted_name(ENCRYPTED)) == (ENCRYPTED, ENCRYPTED)
    assert (plain_name(PLAIN), plain_name(ENCRYPTED)) == (PLAIN, PLAIN)
    assert (is_encrypted(PLAIN), is_encrypted(ENCRYPTED)) == (False, True)
    assert PLAIN_NAME.fullmatch(PLAIN)
    assert not PLAIN_NAME.fullmatch(ENCRYPTED)


def test_companions_are_the_same_for_both_forms() -> None:
    """So an archive of the other form may never take the same name."""
    both = forms(Path("/backups") / PLAIN)
    assert both == forms(Path("/backups") / ENCRYPTED) == (Path("/backups") / PLAIN, Path("/backups") / ENCRYPTED)
    assert companions(both[0]) == companions(both[1])
    assert [path.name.removeprefix("critical_backup_20261120_020004") for path in companions(both[0])] == [
        ".manifest.json", ".drill.json", ".delivery.json", ".copy.json", ".decrypt.txt",
    ]  # fmt: skip
    assert not any(ARCHIVE_NAME.fullmatch(path.name) for path in companions(both[0]))


def test_names_of_both_forms_are_listed_newest_first(tmp_path: Path) -> None:
    """Whatever else lies there is no archive: also not what gpg or a hand has made of one."""
    older = "critical_backup_20261119_020004.tar.gz.age"
    for name in (PLAIN, older, f"{PLAIN}.gpg", f"{ENCRYPTED}.age", f"{PLAIN}.age.partial", "archive.tar.gz.age"):
        (tmp_path / name).touch()
    assert archive_names(tmp_path) == [PLAIN, older]
    assert archive_names(tmp_path / "nowhere") == []


@pytest.mark.parametrize("name", [PLAIN, ENCRYPTED])
def test_decrypt_command_reads_the_encrypted_and_writes_the_plain(name: str) -> None:
    """Both names are those of this archive."""
    assert decrypt_command(encrypted_name(name)) == f"age -d -i KEY_FILE -o {PLAIN} {ENCRYPTED}"
