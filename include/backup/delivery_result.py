"""What a delivery has come to: go on, try again or fail, and what the administrators are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from include.backup.delivery_record import DeliveryRecord
from include.backup.errors import DeliveryError, TemporaryError
from include.backup.letter import Letter
from include.backup.notice import Notice


def not_reached(record: DeliveryRecord, recipients: Sequence[str], *, last_try: bool) -> dict[str, str]:
    """
    Return who does not have the mail, or may not have it, with the server's words.

    Args:
        record: After the try.
        recipients: Every administrator.
        last_try: Whether no other try follows.

    Raises:
        TemporaryError: If another try can reach somebody.
        DeliveryError: If nobody has the mail.
    """
    entries = {name: record.recipients[name] for name in recipients if name in record.recipients}
    lacking = {
        name: entry.answer or "the mail server's answer is not known, it may have arrived"
        for name, entry in entries.items()
        if entry.state != "accepted"
    }
    words = "; ".join(f"{name}: {answer}" for name, answer in lacking.items())
    if all(entry.state in ("refused", "deferred") for entry in entries.values()):
        text = f"every administrator was refused: {words}; check ADMIN_EMAILS"
        raise TemporaryError(text) if any(e.state == "deferred" for e in entries.values()) else DeliveryError(text)
    deferred = [name for name, entry in entries.items() if entry.state in ("deferred", "sending")]
    if deferred and not last_try:
        raise TemporaryError(
            f"{', '.join(deferred)} could not be reached yet, the others are not sent the mail again: {words}"
        )
    return lacking


def unconfirmed_notice(letter: Letter) -> Notice:
    """Return what those are told who may have the mail: the server's answer is not known."""
    where = letter.link.url if letter.link else f"{letter.archive} on the backup host"
    return Notice(
        state="failed",
        title=f"The mail with {letter.archive.name} may not have reached you",
        text="The whole mail was sent, but the task or the connection ended before the mail server had answered. "
        "It is not sent again by itself, so that nobody gets it twice. The backup itself is made and verified.",
        facts=(("Archive", letter.archive.name), ("SHA-256", letter.sidecar.archive_sha256)),
        next_steps=(
            f"If the mail did not arrive, fetch the archive: {where}",
            "Or clear the mail task of this run in Airflow: it is then sent to those who got this notice.",
        ),
        url=letter.run_url,
    )


def refusal_notice(letter: Letter, lacking: Mapping[str, str]) -> Notice:
    """Return the alert for those who can be reached: who does not have the mail, and why."""
    return Notice(
        state="failed",
        title=f"The backup mail did not reach {', '.join(lacking)}",
        text=f"{letter.archive.name} is made and verified. These administrators do not have its mail, or nobody knows "
        "whether they do: " + "; ".join(f"{name}: {words}" for name, words in lacking.items()),
        facts=(("Archive", letter.archive.name), ("Log", letter.run_url or "in Airflow")),
        next_steps=(
            "Mend the mailbox that the mail server's words name, or take the address out of ADMIN_EMAILS.",
            "Clear the mail task of this run in Airflow: it is then sent to those who lack it, to nobody else.",
        ),
        url=letter.run_url,
    )
