"""Several backups in one scope file: which there are, and the settings of each."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from include.backup.backup_id import UNNAMED, Backup
from include.backup.errors import ScopeError, SettingsError
from include.backup.fleet import read_fleet, settings_of, usable_settings_of
from include.backup.masking import mask
from include.backup.scope import load_scope
from include.backup.scope_command import main
from include.backup.settings import Settings, load_settings

TOP = "version: 1\ntables: {users.sql: [users]}\n"
ENTRY = {"connection": "orders_db", "tables": {"orders.sql": ["orders"]}}
ORDERS = Backup("orders")

# An entry, and pieces of what is said of it.
WRONG: dict[str, tuple[object, tuple[str, ...]]] = {
    "nothing": (None, ("seen None", "expected connection and tables")),
    "a list": (["orders"], ("seen ['orders']",)),
    "no connection": ({"tables": {"a.sql": ["a"]}}, ("connection is missing",)),
    "no table": ({"connection": "c"}, ("no table is taken", "scope_file")),
    "unknown key": (ENTRY | {"tabels": 1}, ("'tabels' is not known", "expected one of configuration, connection")),
    "scope twice": (ENTRY | {"scope_file": "a.yaml"}, ("scope_file and tables", "the one or the other")),
    "schedule": (ENTRY | {"schedule": "at night"}, ("schedule='at night'", "five fields")),
    "recipients": (ENTRY | {"recipients": ["nobody"]}, ("recipients='nobody'", "admin@example.com")),
    "empty": (ENTRY | {"schedule": ""}, ("schedule has no value",)),
    "connection a mapping": (ENTRY | {"connection": {"host": "h"}}, ("connection has no value",)),
    "settings a list": (ENTRY | {"settings": ["BACKUP_DRILL"]}, ("settings=['BACKUP_DRILL']",)),
    "setting": (ENTRY | {"settings": {"BACKUP_MIN_SIZE_MB": -1}}, ("BACKUP_MIN_SIZE_MB='-1'", "greater than")),
    "unknown setting": (ENTRY | {"settings": {"BACKUP_COLOUR": 1}}, ("settings.BACKUP_COLOUR is no setting",)),
    "small letters": (ENTRY | {"settings": {"backup_drill": "off"}}, ("settings.backup_drill is no setting",)),
    "folder": (ENTRY | {"settings": {"BACKUP_DIR": "/x"}}, ("settings.BACKUP_DIR is one for all backups",)),
    "secret": (ENTRY | {"settings": {"POSTGRES_PASSWORD": "s3cret"}}, ("POSTGRES_PASSWORD is one for all", "secret")),
    "key's own": (ENTRY | {"settings": {"BACKUP_SCHEDULE": "0 1 * * *"}}, ("expected 'schedule' beside",)),
    "copy in the folder": (
        ENTRY | {"settings": {"BACKUP_COPY_URL": "file:///backups/copies"}},
        ("a copy within BACKUP_DIR=/backups is none",),
    ),
}


@pytest.fixture(autouse=True)
def scope_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The scope file in use; nothing else is set but who gets mails."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    monkeypatch.setenv("BACKUP_SCOPE_FILE", str(tmp_path / "scope.yaml"))
    return tmp_path / "scope.yaml"


def name(scope_file: Path, *, top: str = TOP, **entries: object) -> None:
    """Let the scope file name these backups."""
    write(scope_file, entries, top=top)


def write(scope_file: Path, entries: Mapping[str, object], *, top: str = TOP) -> None:
    scope_file.write_text(f"{top}backups: {json.dumps(entries)}\n")  # JSON is YAML, without aliases


def test_scope_file_without_backups_is_one_backup_without_an_id(scope_file: Path) -> None:
    """As it was before there could be others: its settings are those of the environment."""
    scope_file.write_text(TOP)
    assert read_fleet(scope_file).backups == (UNNAMED,)
    assert settings_of(UNNAMED) == load_settings()
    assert (UNNAMED.dag_id, UNNAMED.drill_dag_id, UNNAMED.restore_dag_id) == (
        "critical_backup", "restore_drill", "restore_backup",
    )  # fmt: skip


def test_backups_come_after_the_one_without_an_id_which_needs_a_scope(scope_file: Path) -> None:
    """In the order of the file; without tables at the top there is no backup without an id."""
    name(scope_file, zebra=ENTRY, apple=ENTRY)
    assert [backup.id for backup in read_fleet(scope_file).backups] == ["", "zebra", "apple"]
    name(scope_file, top="version: 1\n", orders=ENTRY)
    assert [backup.dag_id for backup in read_fleet(scope_file).backups] == ["critical_backup_orders"]


@pytest.mark.parametrize("wrong", ["Orders", "1st", "a-b", "../etc", "a" * 32, "critical_backup_x", "", "ä"])
def test_id_that_could_not_be_a_folder_and_a_dag_is_named(scope_file: Path, wrong: str) -> None:
    """The others are there as ever."""
    write(scope_file, {"orders": ENTRY, wrong: ENTRY})
    fleet = read_fleet(scope_file)
    assert fleet.backups == (UNNAMED, ORDERS)
    (error,) = fleet.errors
    assert f"{scope_file}: backups: {wrong!r} is no id" in error


@pytest.mark.parametrize("content", ["tables: [", "- a\n", "version: 1\ntables: {}\nbackups: [orders]\n"])
def test_file_that_names_no_backups_leaves_the_one_whose_run_says_why(scope_file: Path, content: str) -> None:
    """And the error is there for whoever tells."""
    scope_file.write_text(content)
    fleet = read_fleet(scope_file)
    assert fleet.backups == (UNNAMED,)
    assert str(scope_file) in fleet.errors[0]


@pytest.mark.parametrize("dag_id", ["critical_backup_orders", "restore_drill_orders", "restore_backup_orders"])
def test_backup_is_known_by_its_dags(dag_id: str) -> None:
    """Also whose they are that belong to none."""
    assert Backup.of_dag(dag_id) == ORDERS
    assert Backup.of_dag("backup_watch") == Backup.of_dag("critical_backup") == UNNAMED


def test_settings_are_the_environments_with_the_entrys_in_their_place(
    scope_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists and numbers of YAML, and its off, are taken as the variables would have them."""
    monkeypatch.setenv("BACKUP_COPY_URL", "file:///mnt/copies")
    monkeypatch.setenv("BACKUP_RETENTION_DAYS", "10")
    more = {"BACKUP_DRILL": False, "BACKUP_MAX_AGE_HOURS": 169, "BACKUP_MIN_SIZE_MB": 0}
    keys = {"schedule": "0 3 * * 0", "recipients": ["a@example.com", "b@example.com"], "pool": "server_1"}
    name(scope_file, orders=ENTRY | keys | {"settings": more})
    settings = settings_of(ORDERS)
    assert settings.backup == ORDERS
    assert settings.admin_emails == ("a@example.com", "b@example.com")
    assert (settings.backup_schedule, settings.backup_pool) == ("0 3 * * 0", "server_1")
    assert settings.backup_connection == "orders_db"
    assert (settings.backup_drill, settings.backup_max_age_hours, settings.backup_min_size_mb) == ("off", 169, 0)
    assert settings.backup_retention_days == 10
    assert (settings.backup_dir, settings.backup_copy_url) == (Path("/backups/orders"), "file:///mnt/copies/orders")


def test_switch_of_one_backup_is_not_that_of_another(scope_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One switch for several would hear of the others' success while one is silent; its own is a secret as ever."""
    name(scope_file, orders=ENTRY)
    monkeypatch.setenv("BACKUP_HEARTBEAT_URL", "https://hc-ping.com/0000-first-0000")
    assert settings_of(ORDERS).backup_heartbeat_url is None
    monkeypatch.setenv("BACKUP_HEARTBEAT_URL_ORDERS", "https://hc-ping.com/0000-second-0000")
    own = settings_of(ORDERS).backup_heartbeat_url
    assert own is not None
    assert own.get_secret_value() == "https://hc-ping.com/0000-second-0000"
    assert "0000-second-0000" not in mask("failed: 0000-second-0000", os.environ)
    monkeypatch.setenv("BACKUP_HEARTBEAT_URL_ORDERS", "nonsense")
    with pytest.raises(SettingsError, match=r"BACKUP_HEARTBEAT_URL_ORDERS=\*\*\*"):
        settings_of(ORDERS)
    assert usable_settings_of(ORDERS).backup_heartbeat_url is None


@pytest.mark.parametrize("case", WRONG)
def test_wrong_entry_is_one_line_with_file_id_and_key(scope_file: Path, case: str) -> None:
    """Who reports it still knows where the backup lies and whom to tell; the next backup is not touched."""
    entry, pieces = WRONG[case]
    name(scope_file, orders=entry, other=ENTRY)
    with pytest.raises(SettingsError) as caught:
        settings_of(ORDERS)
    message = str(caught.value)
    assert message.startswith(f"{scope_file}: backups.orders: ")
    assert message.splitlines() == [message]
    assert [piece for piece in pieces if piece not in message] == []
    assert "s3cret" not in message
    usable = usable_settings_of(ORDERS)
    assert (usable.backup_dir, usable.backup) == (Path("/backups/orders"), ORDERS)
    assert usable.admin_emails == ("admin@example.com",)
    assert settings_of(Backup("other")).backup_dir == Path("/backups/other")


def test_wrong_value_does_not_take_the_right_ones_away_from_who_reports_it(scope_file: Path) -> None:
    """Above all its own recipients are told."""
    name(scope_file, orders=ENTRY | {"schedule": "at night", "recipients": "orders@example.com"})
    assert usable_settings_of(ORDERS).admin_emails == ("orders@example.com",)


def test_backup_that_has_left_the_file_is_said_to_be_gone(scope_file: Path) -> None:
    """As when its run goes on meanwhile."""
    name(scope_file, orders=ENTRY)
    with pytest.raises(SettingsError, match="there is no such backup in the file"):
        settings_of(Backup("gone"))


def test_scope_of_an_entry_is_its_own_or_that_of_its_file(scope_file: Path) -> None:
    """The file lies where it is named from this one's place."""
    name(scope_file, orders=ENTRY, shop={"connection": "c", "scope_file": "shop/scope.yaml"})
    (scope_file.parent / "shop").mkdir()
    (scope_file.parent / "shop" / "scope.yaml").write_text("version: 1\ntables: {shop.sql: [shops]}\n")
    assert [str(table) for table in load_scope(scope_file).taken] == ["users"]
    assert [str(table) for table in load_scope(scope_file, ORDERS).taken] == ["orders"]
    assert [str(table) for table in load_scope(scope_file, Backup("shop")).taken] == ["shops"]


def test_wrong_scope_of_an_entry_is_named_with_its_id(scope_file: Path) -> None:
    """As the top of the file is with its place."""
    name(scope_file, orders=ENTRY | {"tables": {"orders.txt": ["orders"]}})
    with pytest.raises(ScopeError, match=r"scope\.yaml: backups\.orders: tables\.orders\.txt: "):
        load_scope(scope_file, ORDERS)


def test_file_that_has_changed_is_read_again(scope_file: Path) -> None:
    """It is read again and again; what it said before is not remembered for longer than that."""
    name(scope_file, orders=ENTRY)
    assert settings_of(ORDERS).backup_connection == "orders_db"
    name(scope_file, orders=ENTRY | {"connection": "moved_db"})
    assert settings_of(ORDERS).backup_connection == "moved_db"


def test_command_lists_the_backups_and_what_is_wrong(scope_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a database: for whoever has just written the file."""
    name(scope_file, orders=ENTRY | {"schedule": "0 3 * * *"}, bad=ENTRY | {"tabels": 1})
    assert main(["backups"]) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "critical_backup: smart_ai_hub, 0 2 * * * UTC, /backups",
        "critical_backup_orders: orders_db, 0 3 * * * UTC, /backups/orders",
    ]
    assert "backups.bad: key 'tabels' is not known" in printed.err
    name(scope_file, orders=ENTRY)
    assert main(["backups"]) == 0
