"""A short mail to the administrators: something failed, or what they asked for is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Literal

from include.backup.mail import new_message
from include.backup.masking import mask


@dataclass(frozen=True)
class Notice:
    """
    What such a mail says.

    Args:
        state: Decides the colour and the mark.
        title: The subject, and the first thing seen: what happened, to which thing.
        text: Why, in full: the error's own words, or what is true now.
        facts: Names and values, for example ("Try", "4 of 4").
        next_steps: What to do, in order.
        url: The page in Airflow that shows more, if its address is known.
        commands: To be pasted into a shell, where a step says so.
    """

    state: Literal["ok", "warning", "failed"]
    title: str
    text: str
    facts: tuple[tuple[str, str], ...]
    next_steps: tuple[str, ...]
    url: str | None
    commands: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Mask secrets here, so that no way of sending it can forget to: an error may quote what it was given."""
        for name in ("title", "text"):
            object.__setattr__(self, name, mask(getattr(self, name)))
        object.__setattr__(self, "facts", tuple((name, mask(value)) for name, value in self.facts))


def notice_message(notice: Notice, *, page_url: str | None, sender: str, recipients: Sequence[str]) -> EmailMessage:
    """Return the mail: plain text and HTML; `page_url` is the status page, if its address is known."""
    values = {"notice": notice, "page_url": page_url}
    return new_message("notice_mail", values, subject=notice.title, sender=sender, recipients=recipients)
