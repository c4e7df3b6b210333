"""The memory of a large mail: it is sent in blocks."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from include.demo.mailbox import Mailbox

if TYPE_CHECKING:
    from tests.backup.conftest import MakeLetter

MB = 1024 * 1024
ADMINS = [f"admin{number}@example.com" for number in range(5)]

SEND = """
import re, smtplib, ssl, sys
from datetime import timezone
from pathlib import Path
from include.backup.delivery import Order, deliver
from include.backup.delivery_result import not_reached
from include.backup.letter import Choice, Letter
from include.backup.manifest import read_sidecar

# Not getrusage: its peak begins with that of the process that forked this one.
def peak_kb():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

archive, port, certificate, password, *admins = sys.argv[1:]
letter = Letter(Path(archive), read_sidecar(Path(archive)), Choice("attachment", ""), (), None, None, timezone.utc)
with smtplib.SMTP("127.0.0.1", int(port), timeout=30) as client:
    client.starttls(context=ssl.create_default_context(cafile=certificate))
    client.login("mailer", password)
    before = peak_kb()
    record = deliver(client, letter, Order("backup@example.com", tuple(admins), "1"))
    assert not_reached(record, admins, last_try=True) == {}
    print(peak_kb() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process its own peak memory")
def test_mail_of_25_mb_takes_little_memory(tmp_path: Path, letter: MakeLetter) -> None:
    """Peak memory of the process that sends 25 MB to five administrators: measured against that before sending."""
    one = letter(archive_bytes=25 * MB)
    one.archive.write_bytes(secrets.token_bytes(25 * MB))
    sidecar = one.archive.with_name(one.archive.name.replace(".tar.gz", ".manifest.json"))
    sidecar.write_text(one.sidecar.model_dump_json(by_alias=True))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with Mailbox(tmp_path / "m") as mailbox:
        arguments = [str(one.archive), str(mailbox.port), str(mailbox.certificate), mailbox.password, *ADMINS]
        child = subprocess.run(
            [sys.executable, "-c", SEND, *arguments], env=environment, check=True, capture_output=True, text=True
        )
        (mail,) = mailbox.messages()
        assert mail.stat().st_size > 34 * MB
    # The promise is 150 MB; that it is not even 32 shows that the mail is never held whole.
    assert 0 < int(child.stdout) < 32 * 1024, f"{child.stdout} KB more than before"
