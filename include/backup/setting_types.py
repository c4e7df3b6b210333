"""What a setting may be: the check of each kind of value, with one line that says what is expected."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from include.backup.age_keys import check_recipients

CRON_FIELDS = 5

_COPY_URL = re.compile(
    r"(?:file:///[^\s?#@/]|(?!file:)[a-z][a-z0-9+.-]*://(?:[\w.-]+@)?[\w.-]+(?=/|$))[^\s?#@:\"<>\\]*"
)
_ADDRESS = re.compile(r"[!#-+\--;=?A-Z\[-~]+@[A-Za-z0-9.-]+")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{16,}=*")  # RFC 6750, section 2.1


def _cron(value: str) -> str:
    if len(value.split()) != CRON_FIELDS or not croniter.is_valid(value):
        raise ValueError("not a cron expression; expected five fields, for example '0 2 * * *' (02:00 daily)")
    try:
        croniter(value).get_next()
    except CroniterBadDateError:
        raise ValueError("this time never comes; expected for example '0 2 * * *' (02:00 daily)") from None
    return value


def _none_if_off(value: Any) -> Any:
    return None if is_off(value) else value


def is_off(value: object) -> bool:
    """Whether a schedule that need not be there says that it is not: no value, the word `off`, or YAML's bare off."""
    return value is None or value is False or str(value).strip().lower() in ("", "off")


def _timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError("not a time zone; expected a name such as 'UTC' or 'Asia/Bangkok'") from None
    return value


def _address(value: str) -> str:
    if not _ADDRESS.fullmatch(value):
        raise ValueError(f"{value!r} is not an e-mail address; expected for example 'admin@example.com'")
    return value


def _addresses(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    addresses = tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
    if not addresses:
        raise ValueError("no e-mail address; expected at least one, separated by commas")
    wrong = [address for address in addresses if not _ADDRESS.fullmatch(address)]
    if wrong:
        raise ValueError(
            f"{', '.join(map(repr, wrong))}: not an e-mail address; expected for example 'admin@example.com'"
        )
    return addresses


def _recipients(value: Any) -> Any:
    return check_recipients(value) if isinstance(value, str) else value


def _absolute(value: Path) -> Path:
    if not value.is_absolute():
        raise ValueError("not an absolute path; expected for example '/backups'")
    return value


def _link_base(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#\"<>@]+(/[^\s?#\"<>]*)?", value):
        raise ValueError(
            "not a web address without a login (it would stand in every mail); "
            "expected for example 'https://airflow.example.com'"
        )
    return value.rstrip("/")


def secret_url(value: SecretStr) -> SecretStr:
    """Return a web address without a login. Raise ValueError if it is none."""
    if not re.fullmatch(r"https?://[^\s/?#@]+([/?][^\s#]*)?", value.get_secret_value()):
        raise ValueError("not a web address without a login; expected for example 'https://hc-ping.com/<token>'")
    return value


def _token(value: SecretStr) -> SecretStr:
    if not _TOKEN.fullmatch(value.get_secret_value()):
        raise ValueError(
            "not 16 or more letters, digits and ._~+/- as a bearer token has them; "
            "expected for example what 'openssl rand -hex 32' prints"
        )
    return value


def _copy_url(value: str) -> str:
    if not _COPY_URL.fullmatch(value) or ".." in value.split("/"):
        raise ValueError(
            "not an address of a folder or an object store, or one with a login in it (that belongs into an Airflow "
            "connection); expected for example 'file:///mnt/second/backups' or 's3://connection_name@bucket/backups'"
        )
    return value.rstrip("/")


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Timezone = Annotated[str, AfterValidator(_timezone)]
Cron = Annotated[str, AfterValidator(_cron)]
CronOrOff = Annotated[Cron | None, BeforeValidator(_none_if_off)]
Address = Annotated[str, AfterValidator(_address)]
Addresses = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_addresses)]
PublicKeys = Annotated[tuple[str, ...] | None, NoDecode, BeforeValidator(_recipients)]
LinkBase = Annotated[str, AfterValidator(_link_base)]
SecretUrl = Annotated[SecretStr, AfterValidator(secret_url)]
Token = Annotated[SecretStr, AfterValidator(_token)]
CopyUrl = Annotated[str, AfterValidator(_copy_url)]
Port = Annotated[int, Field(ge=1, le=65535)]
Positive = Annotated[int, Field(ge=1)]
Months = Annotated[int, Field(ge=1, le=1200)]
Days = Annotated[int, Field(ge=1, le=36500)]
Hours = Annotated[int, Field(ge=1, le=8760)]
Minutes = Annotated[int, Field(ge=1, le=525600)]
WeeksOrNone = Annotated[int, Field(ge=0, le=5200)]
MonthsOrNone = Annotated[int, Field(ge=0, le=1200)]
