"""The sample database and the sample project's configuration, on real servers."""

import hashlib
import stat
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Protocol

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from include.demo.sample import SampleCounts, SampleError, load_sample, write_sample_configuration

END = datetime(2025, 10, 16, 2, 0, tzinfo=timezone.utc)
NOW, CUT_OFF = "timestamptz '2025-10-16 02:00Z'", "timestamptz '2025-07-16 02:00Z'"
WINDOWED = ("credit_transactions", "point_transactions", "purchases", "transfers")
LOGS = ("audit_logs", "sessions", "usage_logs")
OTHERS = (
    "roles", "permissions", "role_permissions", "users", "user_profiles", "user_roles", "organizations",
    "agencies", "referrals", "exchange_rates", "system_settings", "credit_accounts", "point_accounts",
)  # fmt: skip

# Each counts what was promised; none may be zero.
PECULIARITIES = {
    "uuid key": "SELECT count(*) FROM pg_attribute WHERE attrelid = 'users'::regclass AND atttypid = 'uuid'::regtype",
    "identity always": "SELECT count(*) FROM pg_attribute WHERE attidentity = 'a'",
    "identity by default": "SELECT count(*) FROM pg_attribute WHERE attidentity = 'd'",
    "two enum types": "SELECT count(DISTINCT enumtypid) / 2 FROM pg_enum",
    "domain": "SELECT count(*) FROM pg_type WHERE typtype = 'd' AND typnamespace = 'public'::regnamespace",
    "json null": "SELECT count(*) FROM system_settings WHERE value = 'null'",
    "nested json": "SELECT count(*) FROM user_profiles WHERE preferences #>> '{notify,quiet}' LIKE '%\"dinner\"%'",
    "array with null, quote, comma": "SELECT count(*) FROM user_profiles"
    " WHERE interests = ARRAY['say \"please\"', 'a, b', NULL, '']",
    "bytea": "SELECT count(avatar_digest) FROM user_profiles WHERE octet_length(avatar_digest) = 20",
    "time without zone": "SELECT count(last_login_at) FROM users",
    "fine numeric": "SELECT count(*) FROM exchange_rates WHERE rate <> round(rate, 4)",
    "quotes": "SELECT count(*) FROM user_profiles WHERE bio LIKE '%\"%' AND bio LIKE '%''%'",
    "newline and tab": r"SELECT count(*) FROM user_profiles WHERE bio LIKE E'%\r\n\t%'",
    "backslashes": r"SELECT count(*) FROM user_profiles WHERE position(E'C:\\Users' IN bio) > 0",
    "end-of-data look-alike": r"SELECT count(*) FROM user_profiles WHERE position(E'\n\\.\n' IN bio) > 0",
    "NULL look-alike": r"SELECT count(*) FROM purchases WHERE note = E'\\N'",
    "Thai": "SELECT count(*) FROM users WHERE display_name ~ '[ก-๙]'",
    "emoji": "SELECT count(*) FROM transfers WHERE message LIKE '%🙏%'",
    "NULL beside empty": "SELECT count(*) FILTER (WHERE phone IS NULL) * count(*) FILTER (WHERE phone = '')"
    " * count(*) FILTER (WHERE phone > '') FROM users",
    "generated column": "SELECT count(*) FROM users WHERE email_domain = 'example.net' AND email LIKE '%Example.net'",
    "circle": "SELECT count(*) FROM users JOIN organizations o ON organization_id = o.id AND owner_id = users.id",
    "time is NULL in a windowed table": "SELECT count(*) FROM transfers WHERE created_at IS NULL",
    "refund of an old purchase": "SELECT count(*) FROM purchases r JOIN purchases p ON r.refund_of = p.id"
    f" WHERE r.created_at >= {CUT_OFF} AND p.created_at < {CUT_OFF}",
    "credits of an old purchase": "SELECT count(*)"
    " FROM credit_transactions t JOIN purchases p ON purchase_id = p.id"
    f" WHERE t.created_at >= {CUT_OFF} AND p.created_at < {CUT_OFF}",
    "points of an old purchase": "SELECT count(*)"
    " FROM point_transactions t JOIN purchases p ON purchase_id = p.id"
    f" WHERE t.created_at >= {CUT_OFF} AND p.created_at < {CUT_OFF}",
    "two years": f"SELECT count(*) FROM purchases WHERE created_at < {CUT_OFF} - interval '18 months'",
    "check constraint": "SELECT count(*) FROM pg_constraint WHERE contype = 'c' AND conrelid = 'referrals'::regclass",
    "partial index": "SELECT count(*) FROM pg_index WHERE indpred IS NOT NULL AND NOT indisunique",
    "unique expression index": "SELECT count(*) FROM pg_index WHERE indexprs IS NOT NULL AND indisunique",
    "trigger": "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal",
    "view": "SELECT count(*) FROM organization_members",
    "table comment": "SELECT count(obj_description('users'::regclass, 'pg_class'))",
    "column comment": "SELECT count(*) FROM pg_description WHERE objoid = 'users'::regclass AND objsubid > 0",
}

# Each counts what would be wrong; all must be zero.
CONTRADICTIONS = {
    "account differs from its transactions": "SELECT count(*) FROM credit_accounts a WHERE balance <> ("
    "SELECT coalesce(sum(amount), 0) FROM credit_transactions WHERE account_id = a.id)",
    "points differ from their transactions": "SELECT count(*) FROM point_accounts a WHERE points <> ("
    "SELECT coalesce(sum(t.points), 0) FROM point_transactions t WHERE t.user_id = a.user_id)",
    "refunded before it was bought": "SELECT count(*) FROM purchases r JOIN purchases p ON r.refund_of = p.id"
    " WHERE r.created_at <= p.created_at OR r.amount <> -p.amount OR p.status <> 'refunded'",
    "bought before signing up": "SELECT count(*) FROM purchases p JOIN users u ON p.user_id = u.id"
    " WHERE p.created_at < u.created_at",
    "after the end": f"SELECT count(*) FROM credit_transactions WHERE created_at >= {NOW}",
    "name and profile differ": "SELECT count(*) FROM users JOIN user_profiles ON id = user_id"
    " WHERE display_name <> full_name",
    "backed up but refers to a log": "SELECT count(*) FROM pg_constraint WHERE contype = 'f'"
    " AND confrelid IN ('audit_logs'::regclass, 'sessions'::regclass, 'usage_logs'::regclass)",
    "windowed table without index": "SELECT 4 - count(DISTINCT indrelid) FROM pg_index JOIN pg_attribute"
    " ON attrelid = indrelid AND attnum = indkey[0] WHERE attname = 'created_at' AND indrelid IN"
    " ('purchases'::regclass, 'transfers'::regclass, 'credit_transactions'::regclass,"
    " 'point_transactions'::regclass)",
}


class Server(Protocol):
    """What a test asks of a PostgreSQL server."""

    def conninfo(self, dbname: str) -> str:
        """Return the connection string of a database."""

    def create_database(self, name: str) -> str:
        """Create an empty database and return its connection string."""


@pytest.fixture(scope="module")
def sample(postgres: Server) -> str:
    """Return the connection string of a small sample."""
    conninfo = postgres.create_database("sample")
    load_sample(conninfo, scale=0.01, now=END)
    return conninfo


@pytest.fixture
def connection(sample: str) -> Iterator[psycopg.Connection]:
    """Return a connection to the small sample; what a test changes is rolled back."""
    with psycopg.connect(sample) as connection:
        yield connection
        connection.rollback()


def digests(conninfo: str) -> dict[str, str]:
    """Return the SHA-256 of every table's COPY output."""
    with psycopg.connect(conninfo) as connection:
        connection.execute("SET timezone = 'UTC'")
        return {table: _digest(connection, table) for table in (*OTHERS, *WINDOWED, *LOGS)}


def _digest(connection: psycopg.Connection, table: str) -> str:
    digest = hashlib.sha256()
    with connection.cursor().copy(f"COPY {table} TO STDOUT".encode()) as copy:
        for block in copy:
            digest.update(block)
    return digest.hexdigest()


@pytest.mark.parametrize("peculiarity", PECULIARITIES)
def test_sample_peculiarity_is_there(connection: psycopg.Connection, peculiarity: str) -> None:
    """Even the smallest sample has at least one case of everything that a backup can trip over."""
    row = connection.execute(PECULIARITIES[peculiarity].encode()).fetchone()
    assert row is not None
    assert row[0] > 0


@pytest.mark.parametrize("contradiction", CONTRADICTIONS)
def test_sample_rows_agree_with_each_other(connection: psycopg.Connection, contradiction: str) -> None:
    """Balances, dates and names of different tables tell the same story."""
    row = connection.execute(CONTRADICTIONS[contradiction].encode()).fetchone()
    assert row == (0,)


def test_sample_all_tables_have_rows(connection: psycopg.Connection) -> None:
    """All promised tables are there and no others, and each has rows."""
    found = connection.execute("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert {table for (table,) in found} == {*OTHERS, *WINDOWED, *LOGS}
    for (table,) in found:
        row = connection.execute(f"SELECT EXISTS (SELECT FROM {table})".encode()).fetchone()
        assert row == (True,), table


def test_sample_empty_search_path_triggers_work(connection: psycopg.Connection) -> None:
    """A change of a user's status writes the time and an audit row though no schema is on the path."""
    connection.execute("SET search_path = ''")
    before = _count(connection, "public.audit_logs")
    closed = connection.execute("UPDATE public.users SET status = 'closed' WHERE status = 'suspended'").rowcount
    assert closed > 0
    assert _count(connection, "public.users WHERE updated_at = now()") == closed
    assert _count(connection, "public.audit_logs") - before == closed


def test_sample_new_row_gets_the_next_identity(connection: psycopg.Connection) -> None:
    """The sequences continue after the loaded keys."""
    row = connection.execute(
        "INSERT INTO roles (code, name) VALUES ('auditor', 'Auditor') RETURNING id = (SELECT max(id) + 1 FROM roles)"
    ).fetchone()
    assert row == (True,)


def test_load_sample_twice_gives_equal_rows(postgres: Server, sample: str) -> None:
    """The same seed, scale and end give the same bytes in every table; another seed does not."""
    again, other = postgres.create_database("again"), postgres.create_database("other")
    bangkok = END.astimezone(timezone(timedelta(hours=7)))
    load_sample(again, scale=0.01, now=bangkok)
    load_sample(other, scale=0.01, now=END, seed=12)
    assert digests(again) == digests(sample)
    assert digests(other)["users"] != digests(sample)["users"]


def test_load_sample_rows_are_the_same_on_every_version(sample: str) -> None:
    """The rows do not depend on the server or on Python: their digest is known."""
    together = hashlib.sha256("".join(digests(sample).values()).encode()).hexdigest()
    assert together[:16] == "d51bea34d8e4644a"


def test_load_sample_counts_are_the_tables_rows(postgres: Server) -> None:
    """A larger scale gives more users and transactions, and the returned counts are those of the tables."""
    conninfo = postgres.create_database("larger")
    counts = load_sample(conninfo, scale=0.05, now=END)
    with psycopg.connect(conninfo) as connection:
        rows = {table: _count(connection, table) for table in (*OTHERS, *WINDOWED, *LOGS)}
    assert counts == SampleCounts(rows)
    assert (counts.rows["users"], counts.rows["purchases"]) == (400, 1200)
    assert counts.total == sum(rows.values())


def _count(connection: psycopg.Connection, table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    assert row is not None
    return int(row[0])


def test_load_sample_database_in_use_is_refused(postgres: Server) -> None:
    """A database that has a table, in whatever schema, is left as it was, and the error names both."""
    conninfo = postgres.create_database("in_use")
    with psycopg.connect(conninfo) as connection:
        connection.execute("CREATE SCHEMA shop; CREATE TABLE shop.orders (id integer)")
    with pytest.raises(SampleError, match=r'"in_use" is not empty: .*shop\.orders'):
        load_sample(conninfo, scale=0.01, now=END)
    with psycopg.connect(conninfo) as connection:
        assert connection.execute("SELECT to_regclass('public.users')").fetchone() == (None,)


@pytest.mark.parametrize(("scale", "now"), [(0.0, END), (-1.0, END), (1.0, END.replace(tzinfo=None))])
def test_load_sample_impossible_request_is_refused(scale: float, now: datetime) -> None:
    """A scale that is not above zero, or a time without zone, fails before anything is connected to."""
    with pytest.raises(ValueError, match="now must be aware, scale above 0"):
        load_sample("host=nowhere.invalid", scale=scale, now=now)


def test_write_sample_configuration_writes_private_files_privately(tmp_path: Path) -> None:
    """All five files are there; the key and .env.production are readable by their owner only, also again."""
    folder = tmp_path / "project"
    (folder / "ssl").mkdir(parents=True)
    (folder / "ssl" / "key.pem").touch(mode=0o644)
    modes = {
        path.relative_to(folder).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in write_sample_configuration(folder)
    }
    assert modes == {
        ".env.production": 0o600,
        "docker-compose.prod.yml": 0o644,
        "nginx.prod.conf": 0o644,
        "ssl/cert.pem": 0o644,
        "ssl/key.pem": 0o600,
    }
    assert "ห้ามนำค่าเหล่านี้ไปใช้งานจริง" in (folder / ".env.production").read_text("utf-8")


def test_write_sample_configuration_certificate_belongs_to_the_key(tmp_path: Path) -> None:
    """The certificate is valid now, for the host that nginx serves, and made with the key beside it."""
    write_sample_configuration(tmp_path)
    certificate = x509.load_pem_x509_certificate((tmp_path / "ssl" / "cert.pem").read_bytes())
    key = load_pem_private_key((tmp_path / "ssl" / "key.pem").read_bytes(), password=None)
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert certificate.public_key().public_bytes(*spki) == key.public_key().public_bytes(*spki)
    assert certificate.not_valid_before_utc <= datetime.now(timezone.utc) < certificate.not_valid_after_utc
    host = certificate.subject.rfc4514_string().removeprefix("CN=")
    assert f"server_name {host};" in (tmp_path / "nginx.prod.conf").read_text("utf-8")
