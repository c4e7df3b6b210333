"""The demo's folder: what lies where, who holds it, and the passwords that are made once."""

from __future__ import annotations

import base64
import fcntl
import json
import secrets
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from include.demo.errors import DemoError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import TextIO

__all__ = ["DemoFolder", "RunningDemo", "Secrets"]

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Secrets:
    """Generated with the folder and kept, so that logins and encrypted values survive a restart."""

    airflow_password: str
    api_secret_key: str
    jwt_secret: str
    fernet_key: str
    reader_password: str
    mailbox_password: str

    @classmethod
    def generate(cls) -> Secrets:
        """Return new random ones."""
        fernet_key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        return cls(
            airflow_password=secrets.token_urlsafe(9),
            api_secret_key=secrets.token_urlsafe(32),
            jwt_secret=secrets.token_urlsafe(64),
            fernet_key=fernet_key,
            reader_password=secrets.token_urlsafe(16),
            mailbox_password=secrets.token_urlsafe(16),
        )


@dataclass(frozen=True)
class RunningDemo:
    """What another process needs to know of the demo that runs in a folder."""

    pid: int
    airflow: str
    user: str
    password: str


@dataclass(frozen=True)
class DemoFolder:
    """Everything the demo writes lies below `path`."""

    path: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> DemoFolder:
        """Return the folder that DEMO_DIR names, or var/demo of this checkout."""
        return cls(Path(environment.get("DEMO_DIR") or REPOSITORY / "var" / "demo").resolve())

    @property
    def is_usual(self) -> bool:
        """Whether this is the folder that the demo takes when nobody names one."""
        return self.path == (REPOSITORY / "var" / "demo").resolve()

    @property
    def backups(self) -> Path:
        """BACKUP_DIR."""
        return self.path / "backups"

    @property
    def configuration(self) -> Path:
        """BACKUP_CONFIG_DIR: sample configuration files."""
        return self.path / "config"

    @property
    def mailbox(self) -> Path:
        """The mail that was received."""
        return self.path / "mailbox"

    @property
    def logs(self) -> Path:
        """What every program said."""
        return self.path / "logs"

    @property
    def postgres(self) -> Path:
        """The embedded server's data."""
        return self.path / "postgres"

    @property
    def airflow(self) -> Path:
        """AIRFLOW_HOME."""
        return self.path / "airflow"

    @property
    def lock_file(self) -> Path:
        """Is locked for as long as a demo runs, however that ends."""
        return self.path / "lock"

    @property
    def state_file(self) -> Path:
        """Tells `make backup` and a second demo about the running one."""
        return self.path / "running.json"

    @contextmanager
    def hold(self) -> Iterator[None]:
        """
        Keep any other demo out of this folder for as long as the context lasts.

        Raises:
            DemoError: If another demo holds it, or it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = self.lock_file.open("w")
        except OSError as error:
            raise DemoError(
                f"cannot write to {self.path}: {error.strerror}; set DEMO_DIR to a folder of your own"
            ) from error
        with lock:
            if not take(lock):
                raise DemoError(self.occupied())
            self.state_file.unlink(missing_ok=True)
            try:
                yield
            finally:
                self.state_file.unlink(missing_ok=True)

    def occupied(self) -> str:
        """Say who runs here and what can be done."""
        running = self.running()
        who = f"process {running.pid}, Airflow at {running.airflow}" if running else "it is still starting"
        return (
            f"a demo already runs in {self.path} ({who}): use it (make backup), end it with Ctrl-C, "
            "or start a second one elsewhere (make demo DEMO_DIR=/another/folder)"
        )

    def running(self) -> RunningDemo | None:
        """Return what the running demo left for others; None if none runs, or it is still starting."""
        try:
            with self.lock_file.open() as lock:
                if take(lock):
                    return None
            return RunningDemo(**json.loads(self.state_file.read_text()))
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise DemoError(
                f"the demo in {self.path} is another user's; set DEMO_DIR to a folder of your own"
            ) from error

    def announce(self, state: RunningDemo) -> None:
        """Leave word for `running`."""
        write_private(self.state_file, json.dumps(asdict(state)))

    def secrets(self) -> Secrets:
        """Return this folder's secrets; the first time, make them."""
        file = self.path / "secrets.json"
        if not file.exists():
            write_private(file, json.dumps(asdict(Secrets.generate())))
        return Secrets(**json.loads(file.read_text()))


def take(lock: TextIO) -> bool:
    """Lock an open file for this process, unless somebody else has."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_private(file: Path, text: str) -> None:
    """Write a file of mode 0600, all of it or nothing."""
    unfinished = file.with_name(f"{file.name}.new")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_text(text)
    unfinished.replace(file)
