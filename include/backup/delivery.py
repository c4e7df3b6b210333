"""How an archive reaches every administrator: attached or as a link, once each, and what is recorded of it."""

from __future__ import annotations

import dataclasses
import logging
import smtplib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from include.backup.delivery_record import DeliveryRecord, RecipientRecord, read_delivery, write_delivery
from include.backup.delivery_result import unconfirmed_notice
from include.backup.errors import BackupError, MailTooLargeError, TemporaryError, UnansweredError
from include.backup.letter import Choice, Letter, build_message
from include.backup.mail import Answer, announced_limit, send
from include.backup.notice import notice_message
from include.backup.outgoing import Outgoing, base64_bytes, outgoing
from include.backup.run import utc_now
from include.backup.settings import BYTES_PER_MB
from include.backup.templates import size_text

log = logging.getLogger(__name__)

# Headers, texts and the picture; more tables make it larger, and then the real size decides when it is sent.
TEXT_BYTES = 64 * 1024


def choose_delivery(archive_bytes: int, *, attachment_max_mb: int, server_max_bytes: int | None) -> Choice:
    """
    Attach an archive that is below the limit and fits the mail server, otherwise send a link.

    Args:
        archive_bytes: >= 0.
        attachment_max_mb: BACKUP_ATTACHMENT_MAX_MB.
        server_max_bytes: What the server announces; None if it names no limit, or could not be asked.

    Source: spec FR-3.
    """
    size = size_text(archive_bytes)
    if archive_bytes >= attachment_max_mb * BYTES_PER_MB:
        return Choice("link", f"{size} is not below BACKUP_ATTACHMENT_MAX_MB={attachment_max_mb}")
    wire_bytes = base64_bytes(archive_bytes) + TEXT_BYTES
    if server_max_bytes is not None and wire_bytes > server_max_bytes:
        return Choice("link", _too_large(archive_bytes, wire_bytes, server_max_bytes))
    reason = f"{size} is below BACKUP_ATTACHMENT_MAX_MB={attachment_max_mb}"
    if server_max_bytes is not None:
        reason += f", and {size_text(wire_bytes)} on the wire fits the mail server's limit of "
        reason += size_text(server_max_bytes)
    return Choice("attachment", reason)


def _too_large(archive_bytes: int, wire_bytes: int, server_max_bytes: int) -> str:
    return (
        f"{size_text(archive_bytes)} is {size_text(wire_bytes)} on the wire, and the mail server takes "
        f"no more than {size_text(server_max_bytes)}"
    )


@dataclass(frozen=True)
class Order:
    """
    Who shall have the mail.

    Args:
        sender: Of the mail and of the envelope.
        recipients: Every administrator.
        series: Names this try and its retries; clearing the task begins another.
        send_again: Whether also those shall get it who have it from another series.
    """

    sender: str
    recipients: tuple[str, ...]
    series: str
    send_again: bool = False

    def due(self, record: DeliveryRecord) -> list[str]:
        """Return who shall be sent the mail now."""
        entries = {recipient: record.recipients.get(recipient) for recipient in self.recipients}
        return [
            recipient
            for recipient, entry in entries.items()
            if entry is None or entry.is_due(series=self.series, send_again=self.send_again)
        ]

    def unanswered(self, record: DeliveryRecord) -> list[str]:
        """Return of whom it is not known whether they have the mail, and who have not been told so."""
        return [recipient for recipient in record.in_state("sending") if recipient in self.recipients]


def deliver(client: smtplib.SMTP, letter: Letter, order: Order) -> DeliveryRecord:
    """
    Send the mail to those who lack it, record each answer at once, and return the record.

    An attachment that the server does not take goes as a link, with the reason. Who may have the mail already
    (the task ended between the last line and the server's answer) gets a short notice instead of a second one.

    Raises:
        TemporaryError, DeliveryError: If the mail as a whole could not be sent.
        BackupError: If it is not known who has it.
    """
    record = read_delivery(letter.archive)
    unanswered = order.unanswered(record)
    if due := order.due(record):
        record = _Delivery(client, letter, order, record).send_to(due)
    if unanswered:
        notice = unconfirmed_notice(letter)
        message = notice_message(notice, page_url=letter.page_url, sender=order.sender, recipients=unanswered)
        answers = send(client, outgoing(message), sender=order.sender, recipients=unanswered)
        told = {name: answer for name, answer in answers.items() if answer.is_accepted}
        record = _with(record, dict.fromkeys(told, "unconfirmed"), order.series)
        write_delivery(letter.archive, record)
    return record


@dataclass
class _Delivery:
    client: smtplib.SMTP
    letter: Letter
    order: Order
    record: DeliveryRecord

    def send_to(self, recipients: Sequence[str]) -> DeliveryRecord:
        """Send the mail, as a link if the server does not take the attachment."""
        if self.record.link_reason:
            self._turn_into_link(self.record.link_reason)
        limit = announced_limit(self.client)
        mail = self._mail(recipients)
        if limit is not None and mail.size_bytes > limit:
            self._turn_into_link(_too_large(self.letter.sidecar.archive_bytes, mail.size_bytes, limit))
        try:
            return self._attempt(self._mail(recipients), recipients)
        except MailTooLargeError as error:
            if self.letter.choice.kind == "link":
                raise
            self._turn_into_link(str(error).partition("; ")[0])
            # Kept, because some servers close the connection after they have said so.
            self.record = self.record.model_copy(update={"link_reason": self.letter.choice.reason})
            write_delivery(self.letter.archive, self.record)
            if self.client.sock is None:
                raise TemporaryError(
                    f"{self.letter.choice.reason}, and closed the connection; the next try sends a link"
                ) from None
            return self._attempt(self._mail(recipients), recipients)

    def _mail(self, recipients: Sequence[str]) -> Outgoing:
        again = any(recipient in self.record.recipients for recipient in recipients) and self.order.send_again
        return build_message(
            self.letter,
            sender=self.order.sender,
            recipients=self.order.recipients,
            edition=f".again.{self.order.series}" if again else "",
        )

    def _turn_into_link(self, reason: str) -> None:
        if self.letter.choice.kind == "attachment":
            log.warning("a link instead of the attachment: %s", reason)
            self.letter = dataclasses.replace(self.letter, choice=Choice("link", reason))

    def _attempt(self, mail: Outgoing, recipients: Sequence[str]) -> DeliveryRecord:
        before = self.record
        try:
            answers = send(
                self.client, mail, sender=self.order.sender, recipients=recipients, before_end=self._note_sending
            )
        except UnansweredError:
            raise
        except BackupError:
            self._write(before)  # the server has said that it did not take the mail
            raise
        states = {name: _state(answer) for name, answer in answers.items()}
        self._write(_with(before, states, self.order.series, answers=answers))
        return self.record

    def _note_sending(self, accepted: Sequence[str]) -> None:
        try:
            self._write(_with(self.record, dict.fromkeys(accepted, "sending"), self.order.series))
        except OSError as error:
            # Not the mail server's fault; and without the record the mail must not be completed.
            raise BackupError(
                f"cannot record who is sent the mail: {error}; nothing was sent: make room or mend the rights of "
                f"{self.letter.archive.parent}"
            ) from error

    def _write(self, record: DeliveryRecord) -> None:
        if record != self.record:
            write_delivery(self.letter.archive, record)
        self.record = record


def _state(answer: Answer) -> str:
    return "accepted" if answer.is_accepted else "deferred" if answer.is_deferred else "refused"


def _with(
    record: DeliveryRecord, states: Mapping[str, str], series: str, *, answers: Mapping[str, Answer] | None = None
) -> DeliveryRecord:
    """Return the record with these recipients' new states."""
    now = utc_now()
    entries = {
        name: RecipientRecord.model_validate(
            {"state": state, "series": series, "at": now, "answer": answers[name].words if answers else ""}
        )
        for name, state in states.items()
    }
    return record.model_copy(update={"recipients": record.recipients | entries})
