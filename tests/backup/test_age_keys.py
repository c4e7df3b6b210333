"""Public keys that are accepted, private keys that are read, and neither shown when they are wrong."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from pyrage import x25519

from include.backup.age_keys import belong_together, check_recipients, read_identities
from include.backup.errors import PrerequisiteError

PRIVATE = x25519.Identity.generate()
PUBLIC = str(PRIVATE.to_public())
OTHER = str(x25519.Identity.generate().to_public())


def ssh_key(folder: Path, kind: str, passphrase: str = "") -> tuple[str, Path]:
    """Make a pair of SSH keys; return the public key and where the private one is."""
    path = folder / f"id_{kind}"
    comment = "ada@laptop"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", comment, "-f", path], check=True)
    return path.with_suffix(".pub").read_text().strip(), path


def key_file(folder: Path, content: str, mode: int = 0o600) -> Path:
    """Return a file with private keys."""
    path = folder / "keys.txt"
    path.write_text(content)
    path.chmod(mode)
    return path


def test_recipients_loosely_written_are_read(tmp_path: Path) -> None:
    """Spaces, line ends, trailing commas and doubles do no harm; the order stays; SSH keys keep their comment."""
    ssh, _ = ssh_key(tmp_path, "ed25519")
    rsa, _ = ssh_key(tmp_path, "rsa")
    assert check_recipients(f" {PUBLIC} ,\n{OTHER},{PUBLIC}, {ssh}, {rsa},") == (PUBLIC, OTHER, ssh, rsa)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (" , ", "no public key; expected age1…"),
        (PUBLIC[:-1], f"key 1 of 1 ({PUBLIC[:12]!r}…) is not a public key"),
        (f"{PUBLIC},{OTHER[:-4]}qqqq", f"key 2 of 2 ({OTHER[:12]!r}…) is not a public key"),
        ("ssh-ed25519 AAAA", "key 1 of 1 ('ssh-ed25519 '…) is not a public key"),
        ("age1pq1xyz", "key 1 of 1 ('age1pq1xyz'…) is not a public key"),
        ("admin@example.com", "key 1 of 1 is not a public key"),
        ("correct horse battery staple", "key 1 of 1 is not a public key"),
    ],
    ids=["nothing", "cut off", "second altered", "half an SSH key", "another kind", "address", "passphrase"],
)
def test_wrong_recipient_is_found_by_its_place_and_beginning(text: str, words: str) -> None:
    """Only what looks like a public key is shown, and only its beginning."""
    with pytest.raises(ValueError, match="expected age1") as caught:
        check_recipients(text)
    message = str(caught.value)
    assert words in message
    assert "\n" not in message
    assert len(message) < 200


@pytest.mark.parametrize(
    "text",
    [
        str(PRIVATE),
        str(PRIVATE).lower(),
        f"{PUBLIC},{PRIVATE}",
        str(PRIVATE)[:40],
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----",
        "AGE-PLUGIN-YUBIKEY-1QQQQQQQQ",
    ],
    ids=["alone", "in small letters", "behind a public one", "cut off", "of SSH", "of a plugin"],
)
def test_private_key_among_the_recipients_is_refused_without_showing_it(text: str) -> None:
    """The message says that it is one, and what to do now that it was seen."""
    with pytest.raises(ValueError, match="is a private key, which must not be here") as caught:
        check_recipients(text)
    assert "Make a new pair" in str(caught.value)
    for secret in (str(PRIVATE)[16:24], "b3BlbnNz", "1QQQQ"):
        assert secret.lower() not in str(caught.value).lower()


def test_identities_are_those_of_age_keygen(tmp_path: Path) -> None:
    """Comments and empty lines are passed over; several keys are several."""
    content = f"# created: 2026-11-20\n# public key: {PUBLIC}\n{PRIVATE}\n\n{x25519.Identity.generate()}\n"
    first, _ = read_identities(key_file(tmp_path, content))
    assert str(first) == str(PRIVATE)
    assert len(read_identities(key_file(tmp_path, content, 0o400))) == 2
    assert read_identities(None) == ()


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_identity_may_be_an_ssh_key(tmp_path: Path, kind: str) -> None:
    """It opens what is encrypted for its public key, and nothing else."""
    public, path = ssh_key(tmp_path, kind)
    assert belong_together(read_identities(path), [PUBLIC, public])
    assert not belong_together(read_identities(path), [PUBLIC])


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (str(PRIVATE), 0o640, "has mode 0640, so others may read the private key; expected 0600"),
        (str(PRIVATE), 0o604, "has mode 0604"),
        ("", 0o600, "holds no key; expected lines AGE-SECRET-KEY-1"),
        ("# nothing\n", 0o600, "holds no key"),
        (PUBLIC, 0o600, "holds a key that cannot be used"),
        (f"{PRIVATE}\n{str(PRIVATE)[:-3]}QQQ\n", 0o600, "holds a key that cannot be used"),
        ("age-encryption.org/v1\n-> scrypt x 18\n", 0o600, "holds a key that cannot be used"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n", 0o600, "holds a key that cannot be used"),
    ],
    ids=["group", "others", "empty", "comment", "public", "second altered", "passphrase", "half an SSH key"],
)
def test_identity_file_that_cannot_be_used_is_named_without_its_content(
    tmp_path: Path, content: str, mode: int, words: str
) -> None:
    """One line: the variable, the path, what was seen, what is expected."""
    path = key_file(tmp_path, content, mode)
    with pytest.raises(PrerequisiteError) as caught:
        read_identities(path)
    message = str(caught.value)
    assert message.startswith(f"BACKUP_AGE_IDENTITY_FILE={path} {words}")
    assert "\n" not in message
    assert str(PRIVATE)[16:30] not in message


def test_ssh_key_with_a_passphrase_is_refused(tmp_path: Path) -> None:
    """Nobody is there to type it."""
    _, path = ssh_key(tmp_path, "ed25519", passphrase="open sesame")
    with pytest.raises(PrerequisiteError, match="without a passphrase"):
        read_identities(path)


def test_identity_file_that_is_no_file_is_named(tmp_path: Path) -> None:
    """Missing, or a folder."""
    with pytest.raises(PrerequisiteError, match="cannot be read: No such file"):
        read_identities(tmp_path / "nowhere")
    with pytest.raises(PrerequisiteError, match="cannot be read: Is a directory"):
        read_identities(tmp_path)
