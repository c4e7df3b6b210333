"""`python -m benchmarks.delivery`: 25 MB to five administrators, over TLS to a server on the loopback interface."""

from __future__ import annotations

import hashlib
import secrets
import smtplib
import ssl
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

from benchmarks.report import write_page
from benchmarks.wishes import page_folder
from include.backup.archive_name import archive_name
from include.backup.delivery import Order, deliver
from include.backup.delivery_result import not_reached
from include.backup.letter import Choice, Letter
from include.backup.manifest import RunRecord, ServerRecord, Sidecar
from include.demo.mailbox import Mailbox

MB = 1024 * 1024
PROMISE_SECONDS = 20
ROUNDS = 5
ADMINS = tuple(f"admin{number}@example.com" for number in range(1, 6))


METHOD = """\
A mail with an archive of random bytes goes to five administrators, over verified TLS and with a login, to a server on
the loopback interface: from connecting to the last answer, its record synced to the disk.
"""


def main(size_mb: int = 25, rounds: int = ROUNDS, report: Path | None = None) -> int:
    """Measure, print each round and the median, and with a folder write them there; slow is not a failure."""
    seconds = []
    with tempfile.TemporaryDirectory(prefix="bench-delivery-") as folder:
        for number in range(1, rounds + 1):
            seconds.append(measure_delivery(Path(folder) / str(number), size_mb * MB))
            print(f"  round {number} of {rounds}: {seconds[-1]:.2f} s")
    print(f"{size_mb} MB to {len(ADMINS)} administrators: {median(seconds):.2f} s (promised: {PROMISE_SECONDS})")
    if report:
        figures = f"{median(seconds):.2f} | {min(seconds):.2f} | {max(seconds):.2f}"
        table = (
            "| attachment | administrators | median s | fastest | slowest | asked |\n|--:|--:|--:|--:|--:|---|\n"
            f"| {size_mb} MB | {len(ADMINS)} | {figures} | below {PROMISE_SECONDS} |"
        )
        write_page("delivery", "A mail to every administrator", [table, METHOD.rstrip()], report)
    return 0


def measure_delivery(folder: Path, size_bytes: int) -> float:
    """Return the seconds from connecting to the last answer, its record synced; all administrators have the mail."""
    folder.mkdir()
    letter = make_letter(folder, size_bytes)
    with Mailbox(folder / "mailbox") as mailbox:
        context = ssl.create_default_context(cafile=str(mailbox.certificate))
        started = time.perf_counter()
        with smtplib.SMTP(mailbox.host, mailbox.port, timeout=30) as client:
            client.starttls(context=context)
            client.login(mailbox.user, mailbox.password)
            record = deliver(client, letter, Order("backup@example.com", ADMINS, "benchmark"))
        seconds = time.perf_counter() - started
    not_reached(record, ADMINS, last_try=True)
    return seconds


def make_letter(folder: Path, size_bytes: int) -> Letter:
    """Return a letter about an archive of random bytes: base64 costs the same whatever they are."""
    now = datetime.now(timezone.utc).replace(microsecond=0)
    archive = folder / archive_name(now)
    content = secrets.token_bytes(size_bytes)
    archive.write_bytes(content)
    server = ServerRecord(
        host="localhost", port=5432, version="18.0", version_number=180000, database="benchmark", encoding="UTF8",
        collate="C", ctype="C", locale_provider="c", locale=None, icu_rules=None,
    )  # fmt: skip
    sidecar = Sidecar(
        format_version=1, archive=archive.name, snapshot_at=now, cut_off=now, server=server, clients={}, tables=(),
        run=RunRecord(run_id="benchmark", kind="manual", stands_for=now, reason=""), configuration_dir="/config",
        files=(), sequences=(), left_out=(), warnings=(), archive_bytes=size_bytes,
        archive_sha256=hashlib.sha256(content).hexdigest(),
    )  # fmt: skip
    return Letter(archive, sidecar, Choice("attachment", "it is measured"), (), None, None, timezone.utc)


if __name__ == "__main__":
    sys.exit(main(report=page_folder(__doc__)))
