"""The archive's mail on its way to every administrator, and the alert that names who does not have it."""

from __future__ import annotations

import logging
import smtplib
from functools import partial

from include.backup.delivery import Order, deliver
from include.backup.delivery_record import DeliveryRecord, read_delivery, write_delivery
from include.backup.delivery_result import not_reached, refusal_notice
from include.backup.letter import Letter
from include.backup.mail import send
from include.backup.notice import Notice, notice_message
from include.backup.outgoing import outgoing
from include.backup.settings import Settings
from include.operators.announce import tell
from include.operators.connections import mail_server
from include.operators.links import status_page_url
from include.operators.mail import log_lacking, sender_of
from include.operators.task import BackupTask

log = logging.getLogger(__name__)


def deliver_archive(task: BackupTask, letter: Letter) -> dict[str, str]:
    """
    Send the archive's mail to every administrator who lacks it.

    Returns:
        Who does not have it, or may not have it, with the server's words; the others got an alert that names them.

    Raises:
        PrerequisiteError: If there is no mail server to send it with.
        TemporaryError: If another try can reach somebody.
        DeliveryError: If nobody has the mail.
    """
    recipients, record = task.settings.admin_emails, read_delivery(letter.archive)
    order = Order("", recipients, task.series, task.sends_again)
    if not order.due(record) and not order.unanswered(record):
        log.info("nobody is sent the mail: each administrator has it, or was refused it for good")
        lacking = not_reached(record, recipients, last_try=task.is_last_try)
        if not record.untold(lacking):
            return lacking
    with mail_server() as (client, from_email):
        order = Order(sender_of(task.settings, from_email), recipients, task.series, task.sends_again)
        record = deliver(client, letter, order)
        lacking = not_reached(record, recipients, last_try=task.is_last_try)
        log_lacking(lacking)
        if untold := record.untold(lacking):
            mail_others = partial(_mail_others, client, order, record)
            tell(task.settings, refusal_notice(letter, lacking), context=task.context, mail=mail_others)
            alerted = record.model_copy(update={"alerted": record.alerted | untold})
            write_delivery(letter.archive, alerted)  # the task may be killed yet, and tried again
    return lacking


def _mail_others(
    client: smtplib.SMTP, order: Order, record: DeliveryRecord, settings: Settings, notice: Notice
) -> None:
    """Mail the notice to those who have the archive's mail: it says that they do."""
    recipients = [name for name in order.recipients if name in record.in_state("accepted")]
    if recipients:
        page_url = status_page_url(settings)
        message = notice_message(notice, page_url=page_url, sender=order.sender, recipients=recipients)
        send(client, outgoing(message), sender=order.sender, recipients=recipients)
