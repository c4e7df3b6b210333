"""The settings of the backup that the demo makes: the same variables as in production."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.demo.databases import DRILL_ROLE, READER, SAMPLE_DATABASE
from include.operators.connection_variables import DATABASE_VARIABLE, DRILL_VARIABLE, connection_variables

if TYPE_CHECKING:
    from include.demo.embedded_postgres import EmbeddedPostgres
    from include.demo.folder import DemoFolder
    from include.demo.mailbox import Mailbox

__all__ = ["backup_environment"]

ADMINS = "admin1@example.com,admin2@example.com"


def backup_environment(
    folder: DemoFolder, postgres: EmbeddedPostgres, mailbox: Mailbox, *, reader_password: str
) -> dict[str, str]:
    """
    Return the backup's settings, and Airflow's connections made from them.

    Args:
        folder: Where the archives go and the configuration files are.
        postgres: Holds the sample database.
        mailbox: Takes the mail; its certificate is the only authority that the tasks trust.
        reader_password: Of the role that can only read, and of the one that makes the drill's databases.
    """
    settings = {
        "POSTGRES_HOST": postgres.host,
        "POSTGRES_PORT": str(postgres.port),
        "POSTGRES_DB": SAMPLE_DATABASE,
        "POSTGRES_USER": READER,
        "POSTGRES_PASSWORD": reader_password,
        "SMTP_HOST": mailbox.host,
        "SMTP_PORT": str(mailbox.port),
        "SMTP_USER": mailbox.user,
        "SMTP_PASS": mailbox.password,
        "SMTP_FROM": "backup@example.com",
        "ADMIN_EMAILS": ADMINS,
        "BACKUP_DIR": str(folder.backups),
        "BACKUP_CONFIG_DIR": str(folder.configuration),
        "BACKUP_LOG_FILE": str(folder.logs / "backup.log"),
        "SSL_CERT_FILE": str(mailbox.certificate),
    }
    drill = settings | {"POSTGRES_DB": "postgres", "POSTGRES_USER": DRILL_ROLE}
    drill_connection = connection_variables(drill)[DATABASE_VARIABLE]
    return settings | connection_variables(settings) | {DRILL_VARIABLE: drill_connection}
