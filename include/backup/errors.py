"""What can go wrong, one class for each decision that a caller makes."""

from __future__ import annotations

from include.backup.names import printable


class BackupError(Exception):
    """A step failed and a person has to act: trying again cannot help."""

    def __str__(self) -> str:
        """Return one line, whatever a name or a server's words in it hold: it goes into mails, logs and Slack."""
        return printable(super().__str__())


class TemporaryError(BackupError):
    """A step failed for a reason that may pass: trying again can help."""


class AnotherExportError(BackupError):
    """Another run is exporting the database, and this one is not to wait for it."""


class ObjectGoneError(BackupError):
    """Something in the database that was asked for is not there."""


class SettingsError(BackupError):
    """Environment variables are missing or wrong."""


class ScopeError(BackupError):
    """The scope file cannot be used."""


class PrerequisiteError(BackupError):
    """Something that the backup needs is not there; the message lists everything that was found."""


class MissingStepError(BackupError):
    """An earlier step's result is gone; the message names the task to clear as well."""


class VerificationError(BackupError):
    """An archive is not what its manifest says."""


class DeliveryError(BackupError):
    """A mail server refused the mail for good."""


class MailTooLargeError(DeliveryError):
    """The mail server does not take a mail of this size."""


class UnansweredError(TemporaryError):
    """The connection ended after the whole mail, before the server's answer: it may have been delivered or not."""


class LinkError(BackupError):
    """A link to an archive was not made here, or works no longer."""


class RestoreError(BackupError):
    """An archive could not be restored, may not be restored there, or is not the same afterwards."""


class UnknownArchiveError(BackupError):
    """No archive of that name is there."""
