"""Delivery to a real mail server that refuses, breaks off, hangs or is slow to say; and to nobody twice."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import signal
import smtplib
import ssl
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from include.backup import mail
from include.backup.archive_name import delivery_path
from include.backup.delivery import Order, deliver
from include.backup.delivery_record import DeliveryRecord, read_delivery
from include.backup.delivery_result import not_reached, refusal_notice
from include.backup.errors import BackupError, DeliveryError, TemporaryError, UnansweredError
from include.backup.letter import Letter
from include.backup.mail import announced_limit
from include.backup.outgoing import outgoing
from include.demo.mailbox import Mailbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiosmtpd.smtp import SMTP

    from tests.backup.conftest import MakeLetter

ADA, BOB, CYD = ADMINS = ("ada@example.com", "bob@example.com", "cyd@example.com")
FIRST = Order("backup@example.com", ADMINS, "email_attachment.3")
CLEARED = replace(FIRST, series="email_attachment.4")


@contextmanager
def logged_in(mailbox: Mailbox) -> Iterator[smtplib.SMTP]:
    """Give a session over verified TLS."""
    with smtplib.SMTP(mailbox.host, mailbox.port, timeout=10) as client:
        if mailbox.tls == "starttls":
            client.starttls(context=ssl.create_default_context(cafile=str(mailbox.certificate)))
        client.login(mailbox.user, mailbox.password)
        yield client


def send_to(mailbox: Mailbox, letter: Letter, order: Order = FIRST) -> DeliveryRecord:
    """Deliver over a connection of its own, as each try of the task does."""
    with logged_in(mailbox) as client:
        return deliver(client, letter, order)


def received(mailbox: Mailbox) -> list[EmailMessage]:
    """Return the mails that came, oldest first."""
    return [message_from_bytes(path.read_bytes(), policy=policy.default) for path in mailbox.messages()]


def envelopes(mailbox: Mailbox) -> list[list[str]]:
    """Return whom each mail was for."""
    return [message["X-Envelope-To"].split(", ") for message in received(mailbox)]


def states(letter: Letter) -> dict[str, str]:
    """Return what is recorded on the disk."""
    return {name: entry.state for name, entry in read_delivery(letter.archive).recipients.items()}


def test_one_refused_of_three_is_named_and_the_others_have_it(tmp_path: Path, letter: MakeLetter) -> None:
    """The two others are accepted, the refused one comes back with the server's words, and all is recorded."""
    one = letter()
    with Mailbox(tmp_path / "m", refusals={BOB: "550 5.1.1 no such user"}) as mailbox:
        record = send_to(mailbox, one)
        assert envelopes(mailbox) == [[ADA, CYD]]
    assert not_reached(record, ADMINS, last_try=False) == {BOB: "550 5.1.1 no such user"}
    assert states(one) == {ADA: "accepted", BOB: "refused", CYD: "accepted"}
    assert delivery_path(one.archive).stat().st_mode & 0o777 == 0o600


def test_recipient_refused_for_now_is_tried_again_alone(tmp_path: Path, letter: MakeLetter) -> None:
    """The error that makes Airflow retry names who is missing; the retry sends to nobody else."""
    one, refusals = letter(), {BOB: "450 4.2.0 greylisted"}
    with Mailbox(tmp_path / "m", refusals=refusals) as mailbox:
        with pytest.raises(TemporaryError, match=r"bob@example.com could not be reached yet.*450 4.2.0 greylisted"):
            not_reached(send_to(mailbox, one), ADMINS, last_try=False)
        refusals.clear()
        assert not_reached(send_to(mailbox, one), ADMINS, last_try=False) == {}
        assert envelopes(mailbox) == [[ADA, CYD], [BOB]]
        first, second = received(mailbox)
    assert first["Message-ID"] == second["Message-ID"]


def test_recipient_refused_for_now_at_the_last_try_is_a_warning(tmp_path: Path, letter: MakeLetter) -> None:
    """No try is left and others have the mail: the run goes on, and the words are there for the alert."""
    with Mailbox(tmp_path / "m", refusals={BOB: "450 later"}) as mailbox:
        record = send_to(mailbox, letter())
    assert not_reached(record, ADMINS, last_try=True) == {BOB: "450 later"}


def test_recipient_refused_for_good_is_not_tried_by_retries_but_after_clearing(
    tmp_path: Path, letter: MakeLetter
) -> None:
    """5xx is final for this task; a person who clears it has mended the mailbox."""
    one, refusals = letter(), {BOB: "550 no", CYD: "450 later"}
    with Mailbox(tmp_path / "m", refusals=refusals) as mailbox:
        send_to(mailbox, one)
        refusals.clear()
        send_to(mailbox, one)
        send_to(mailbox, one, CLEARED)
        assert envelopes(mailbox) == [[ADA], [CYD], [BOB]]


@pytest.mark.parametrize(
    ("answers", "kind"),
    [(("550 no", "550 no", "550 no"), DeliveryError), (("550 no", "450 later", "550 no"), TemporaryError)],
)
@pytest.mark.parametrize("last_try", [True, False])
def test_all_refused_is_a_failure(
    tmp_path: Path, letter: MakeLetter, *, answers: tuple[str, ...], kind: type[BackupError], last_try: bool
) -> None:
    """Nobody has the mail: the task fails, with every recipient's words; it is tried again if that can help."""
    with Mailbox(tmp_path / "m", refusals=dict(zip(ADMINS, answers, strict=True))) as mailbox:
        record = send_to(mailbox, letter())
        assert mailbox.messages() == []
    with pytest.raises(kind, match=r"every administrator was refused: ada@example.com: 550 no; bob") as caught:
        not_reached(record, ADMINS, last_try=last_try)
    assert type(caught.value) is kind


def test_cleared_task_sends_to_nobody_who_has_it(mailbox: Mailbox, letter: MakeLetter) -> None:
    """Only a new administrator gets the mail."""
    one = letter()
    send_to(mailbox, one, replace(FIRST, recipients=ADMINS[:2]))
    send_to(mailbox, one, CLEARED)
    send_to(mailbox, one, replace(FIRST, series="email_attachment.5"))
    assert envelopes(mailbox) == [[ADA, BOB], [CYD]]


def test_send_again_sends_once_more_but_not_at_each_retry(mailbox: Mailbox, letter: MakeLetter) -> None:
    """Who asks for it again gets one more, as another mail, since mail programs hide a known Message-ID."""
    one = letter()
    send_to(mailbox, one, replace(FIRST, send_again=True))
    for _ in range(2):
        send_to(mailbox, one, replace(CLEARED, send_again=True))
    assert envelopes(mailbox) == [[*ADMINS], [*ADMINS]]
    first, second = received(mailbox)
    assert first["Message-ID"] != second["Message-ID"]


def test_server_announces_less_than_the_mail_so_a_link_goes_saying_why(tmp_path: Path, letter: MakeLetter) -> None:
    """The real size decides when it is sent; the attachment is not even tried."""
    with Mailbox(tmp_path / "m", max_message_bytes=20_000) as mailbox:
        send_to(mailbox, letter())
        (message,) = received(mailbox)
    assert list(message.iter_attachments()) == []
    text = message.get_body(("plain",))
    assert text is not None
    assert "on the wire, and the mail server takes no more than 19.5 KB" in " ".join(text.get_content().split())


@pytest.mark.parametrize("answer", ["552 message too large", "554 5.3.4 too big for me"])
def test_server_refuses_the_size_it_did_not_announce_so_a_link_goes(
    tmp_path: Path, letter: MakeLetter, answer: str
) -> None:
    """552 after the whole mail: the link follows in the same try, and later tries begin with it."""

    async def refuse_attachments(_server: SMTP, content: bytes) -> str | None:
        return answer if b"application/gzip" in content else None

    one, refusals = letter(), {BOB: "450 later"}
    with Mailbox(tmp_path / "m", before_keeping=refuse_attachments, refusals=refusals) as mailbox:
        send_to(mailbox, one)
        (message,) = received(mailbox)
        assert answer in str(message.get_body(("plain",)))
        mailbox.before_keeping = None
        refusals.clear()
        send_to(mailbox, one)
        assert [list(mail.iter_attachments()) for mail in received(mailbox)] == [[], []]
    assert envelopes(mailbox) == [[ADA, CYD], [BOB]]


def test_announced_limit_is_read_from_the_server(tmp_path: Path) -> None:
    """In bytes, as EHLO has it."""
    with Mailbox(tmp_path / "m", max_message_bytes=12_345_678) as mailbox, logged_in(mailbox) as client:
        assert announced_limit(client) == 12_345_678


def test_connection_that_breaks_in_data_is_tried_again(tmp_path: Path, letter: MakeLetter) -> None:
    """Before the last line nothing can have been delivered: the next try sends to all."""
    one = letter()
    one.archive.write_bytes(secrets.token_bytes(16 << 20))  # more than the kernel takes before it notices
    with Mailbox(tmp_path / "m", breaks_in_data=True) as mailbox, pytest.raises(TemporaryError) as caught:
        send_to(mailbox, one)
    assert (type(caught.value), states(one)) == (TemporaryError, {})
    with Mailbox(tmp_path / "n") as mailbox:
        send_to(mailbox, one)
        assert envelopes(mailbox) == [[*ADMINS]]


@pytest.mark.parametrize("tls", ["starttls", "none"])
@pytest.mark.parametrize("answer", ["552 message too large", "554 5.3.4 too big for me"])
def test_server_that_says_too_large_in_data_and_hangs_up_gets_a_link(
    tmp_path: Path, letter: MakeLetter, answer: str, tls: Any
) -> None:
    """What it said before it closed the connection is read; the next try sends a link instead of all of it again."""
    one = letter()
    one.archive.write_bytes(secrets.token_bytes(16 << 20))  # more than the kernel takes before it notices
    server = Mailbox(tmp_path / "m", tls=tls, breaks_in_data=True, last_words=answer)
    with server, pytest.raises(TemporaryError, match=f"answered {answer}, and closed the connection.*sends a link"):
        send_to(server, one)
    assert states(one) == {}
    with Mailbox(tmp_path / "n", tls=tls) as mailbox:
        send_to(mailbox, one)
        (message,) = received(mailbox)
    assert list(message.iter_attachments()) == []
    assert answer in str(message.get_body(("plain",)))


@pytest.mark.parametrize(
    ("answer", "kind"), [("451 the disk is full", TemporaryError), ("554 5.7.1 not from you", DeliveryError)]
)
def test_server_that_refuses_in_data_for_another_reason_is_quoted(
    tmp_path: Path, letter: MakeLetter, answer: str, kind: type[BackupError]
) -> None:
    """Its words decide whether the mail is tried again, and nobody is told that it may have arrived."""
    one = letter()
    one.archive.write_bytes(secrets.token_bytes(16 << 20))
    server = Mailbox(tmp_path / "m", breaks_in_data=True, last_words=answer)
    with server, pytest.raises(kind, match=f"the mail server answered {answer}") as caught:
        send_to(server, one)
    assert (type(caught.value), states(one)) == (kind, {})


def test_small_mail_that_is_refused_before_its_end_is_not_taken_for_delivered(
    tmp_path: Path, letter: MakeLetter
) -> None:
    """It is all sent before the refusal is noticed; the answer is still the server's, not a mail of unknown fate."""
    one = letter()
    server = Mailbox(tmp_path / "m", breaks_in_data=True, last_words="552 too large")
    with server, pytest.raises(TemporaryError, match="answered 552 too large"):
        send_to(server, one)
    assert states(one) == {}


@pytest.mark.parametrize("kept", [True, False])
def test_connection_that_breaks_before_the_answer_sends_nobody_a_second_mail(
    tmp_path: Path, letter: MakeLetter, *, kept: bool
) -> None:
    """Nobody can know whether it arrived: a notice says so and names the archive; a person may clear the task."""

    async def hang_up(server: SMTP, _content: bytes) -> None:
        server.transport.abort()  # type: ignore[union-attr]

    one = letter()
    with Mailbox(tmp_path / "m", **{"after_keeping" if kept else "before_keeping": hang_up}) as mailbox:  # type: ignore[arg-type]
        with pytest.raises(UnansweredError, match="did not answer after the whole mail was sent"):
            send_to(mailbox, one)
        mailbox.after_keeping = mailbox.before_keeping = None
        before = len(mailbox.messages())
        assert set(not_reached(send_to(mailbox, one), ADMINS, last_try=False)) == {*ADMINS}
        notice = received(mailbox)[-1]
        assert (len(mailbox.messages()), list(notice.iter_attachments())) == (before + 1, [])
        assert notice["Subject"].strip() == f"The mail with {one.archive.name} may not have reached you"
        assert str(one.archive) in str(notice.get_body(("plain",)).get_content())  # type: ignore[union-attr]
        send_to(mailbox, one)
        assert len(mailbox.messages()) == before + 1, "nobody is told twice"
        send_to(mailbox, one, CLEARED)
        assert len(mailbox.messages()) == before + 2
    assert states(one) == dict.fromkeys(ADMINS, "accepted")


def test_server_that_hangs_is_given_up(tmp_path: Path, letter: MakeLetter, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time-out the task ends with an error, and it is recorded that nobody knows."""
    monkeypatch.setattr(mail, "ANSWER_TIMEOUT_SECONDS", 0.3)
    one = letter()

    async def hang(_server: SMTP, _content: bytes) -> None:
        await asyncio.sleep(3)

    with Mailbox(tmp_path / "m", before_keeping=hang) as mailbox, pytest.raises(UnansweredError, match="timed out"):
        send_to(mailbox, one)
    assert states(one) == dict.fromkeys(ADMINS, "sending")


def test_server_that_refuses_the_mail_for_now_delivered_nothing(tmp_path: Path, letter: MakeLetter) -> None:
    """4xx for the mail as a whole: all are tried again."""

    async def later(_server: SMTP, _content: bytes) -> str:
        return "451 try later"

    one = letter()
    with Mailbox(tmp_path / "m", before_keeping=later) as mailbox:
        with pytest.raises(TemporaryError, match="451 try later"):
            send_to(mailbox, one)
        assert states(one) == {}
        mailbox.before_keeping = None
        send_to(mailbox, one)
        assert envelopes(mailbox) == [[*ADMINS]]
    assert states(one) == dict.fromkeys(ADMINS, "accepted")


KILLED = """
import os, signal, smtplib, ssl, sys
from include.backup import delivery
from include.backup.delivery import Order, deliver
from include.backup.letter import Choice, Letter
from include.backup.manifest import read_sidecar
from pathlib import Path
from datetime import timezone

archive, port, certificate, password, moment, *admins = sys.argv[1:]
letter = Letter(Path(archive), read_sidecar(Path(archive)), Choice("attachment", ""), (), None, None, timezone.utc)
write, states = delivery.write_delivery, []
def die_instead(path, record):
    state = next(iter(record.recipients.values())).state
    if state == moment:
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, record)
delivery.write_delivery = die_instead
with smtplib.SMTP("127.0.0.1", int(port), timeout=10) as client:
    client.starttls(context=ssl.create_default_context(cafile=certificate))
    client.login("mailer", password)
    deliver(client, letter, Order("backup@example.com", tuple(admins), "email_attachment.3"))
"""


@pytest.mark.parametrize(
    ("moment", "mails", "at_the_end"), [("accepted", 1, "unconfirmed"), ("sending", 0, "accepted")]
)
def test_task_killed_around_the_answer_sends_nobody_a_second_mail(
    mailbox: Mailbox, letter: MakeLetter, *, moment: str, mails: int, at_the_end: str
) -> None:
    """Killed after the server's answer and before its record: a notice; killed before the last line: the mail."""
    one = letter()
    sidecar = one.archive.with_name(one.archive.name.replace(".tar.gz", ".manifest.json"))
    sidecar.write_text(one.sidecar.model_dump_json(by_alias=True))
    arguments = [str(one.archive), str(mailbox.port), str(mailbox.certificate), mailbox.password, moment, *ADMINS]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    child = subprocess.run([sys.executable, "-c", KILLED, *arguments], env=environment, check=False)
    assert child.returncode == -signal.SIGKILL
    assert len(mailbox.messages()) == mails
    send_to(mailbox, one)
    with_archive = [message for message in received(mailbox) if list(message.iter_attachments())]
    assert len(with_archive) == 1
    assert len(mailbox.messages()) == mails + 1
    assert states(one) == dict.fromkeys(ADMINS, at_the_end)


def test_record_that_cannot_be_read_sends_nothing(mailbox: Mailbox, letter: MakeLetter) -> None:
    """Sending anyway could mean sending twice; the message says how to send to everybody."""
    one = letter()
    delivery_path(one.archive).write_text('{"recipients": {"a": 1}}')
    with pytest.raises(BackupError, match=r"delivery\.json is no delivery record.*remove it to send"):
        send_to(mailbox, one)
    assert mailbox.messages() == []


def test_record_that_cannot_be_written_leaves_the_mail_unsent(mailbox: Mailbox, letter: MakeLetter) -> None:
    """Without the record nobody could keep the promise of one mail; the server's words are not blamed."""
    one = letter()
    delivery_path(one.archive).with_name(f".{delivery_path(one.archive).name}.partial").mkdir()
    with pytest.raises(BackupError, match=r"cannot record who is sent the mail: .*nothing was sent") as caught:
        send_to(mailbox, one)
    assert type(caught.value) is BackupError
    assert (mailbox.messages(), states(one)) == ([], {})


def test_record_is_json_that_people_can_read(mailbox: Mailbox, letter: MakeLetter) -> None:
    """Each recipient with state, time and the server's answer; no secret."""
    one = letter()
    send_to(mailbox, one)
    record = json.loads(delivery_path(one.archive).read_text())["recipients"][ADA]
    assert (record["state"], record["answer"]) == ("accepted", "250 OK, kept")


def test_every_attempt_is_logged_with_recipient_size_seconds_and_answer(
    tmp_path: Path, letter: MakeLetter, caplog: pytest.LogCaptureFixture
) -> None:
    """One line each, whether accepted or not."""
    with caplog.at_level(logging.INFO), Mailbox(tmp_path / "m", refusals={BOB: "550 no"}) as mailbox:
        send_to(mailbox, letter())
    lines = [record.getMessage() for record in caplog.records if record.name == mail.__name__]
    assert [line.partition(" to ")[2].partition(", after")[0] for line in lines] == [
        f"{ADA}: 250 OK, kept",
        f"{BOB}: 550 no",
        f"{CYD}: 250 OK, kept",
    ]
    assert all(line.startswith("mail of ") and line.endswith(" s") for line in lines)


def test_lines_that_begin_with_a_dot_arrive_unchanged(mailbox: Mailbox) -> None:
    """The end of a message is a line with a dot: RFC 5321 4.5.2."""
    dotted = EmailMessage()
    dotted.set_content(".\n.hidden\n..\n.")
    with logged_in(mailbox) as client:
        mail.send(client, outgoing(dotted), sender=ADA, recipients=[BOB])
    (message,) = received(mailbox)
    text = message.get_body(("plain",))
    assert text is not None
    assert ".\n.hidden\n..\n." in text.get_content().replace("\r", "")


def test_refusal_notice_names_who_and_why(letter: MakeLetter) -> None:
    """The alert to those who can be reached has the names and the server's words."""
    notice = refusal_notice(letter(), {BOB: "550 no such user"})
    assert notice.title == f"The backup mail did not reach {BOB}"
    assert "550 no such user" in notice.text
