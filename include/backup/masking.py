"""Passwords and tokens never leave in a text: they are known from the environment and from connections, and masked."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from include.backup.names import printable

MASK = "***"
# Shorter ones would tear every text apart, and a password of three characters protects nothing.
MIN_SECRET_CHARACTERS = 4
MIN_TOKEN_CHARACTERS = 8  # of a part of a secret address: /ping in it is no secret

# A token stands in these addresses, so all of each is a secret.
SECRET_URLS = ("BACKUP_HEARTBEAT_URL", "BACKUP_SLACK_WEBHOOK_URL")

_SECRET_VARIABLE = re.compile(r"(?:PASS(?:WORD|WD|PHRASE)?|SECRET|TOKEN|API_?KEY|(?:SECRET|FERNET|PRIVATE)_KEY)$")
_SECRET_KEY = re.compile(r"passw|passphrase|secret|token|api_?key|private_?key|credential", re.IGNORECASE)
_URL_LOGIN = re.compile(r"(?<=://)[^\s/@:]*:[^\s/@]*(?=@)")
_PARAMETER = re.compile(r"((?:password|passwd)\s?=\s?)(?!\*\*\*)('(?:[^'\\]|\\.)*'|[^\s'&;,]+)", re.IGNORECASE)

# Nowhere has a private key of age a place in a text, also where it was put by mistake.
_AGE_KEY = re.compile(r"AGE-SECRET-KEY-[0-9A-Z-]+", re.IGNORECASE)

_told: set[str] = set()


def remember_connection(password: str | None, extra: Mapping[str, object]) -> None:
    """Mask these from now on in this process: a connection's password, and what its extras call a secret."""
    _told.update(_usable([password or "", *_secrets_of_mapping(extra)]))


def known_secrets(environment: Mapping[str, str]) -> set[str]:
    """Return every secret that the environment holds, and those of connections that were looked up."""
    found: list[str] = []
    for name, value in environment.items():
        if _SECRET_VARIABLE.search(name):
            found.append(value)
        if name.startswith(SECRET_URLS):  # also _<ID>, of one backup
            found += _parts_of_secret_url(value)
        found += _login_password(value)
        if name.startswith("AIRFLOW_CONN_"):
            found += _secrets_of_connection(value)
    return _usable(found) | _told


def mask(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """
    Return the text without its secrets.

    Masked are the known ones, also quoted as in URLs, JSON, Python or libpq, and whatever has the form of a login in a
    URL, of `password=…` or of a private key of age. Only for what people read: names and figures that programs read
    stay as they are.
    """
    forms = {form for secret in known_secrets(environment) for form in _forms(secret)}
    for form in sorted(forms, key=len, reverse=True):  # a secret may be a part of another
        text = text.replace(form, MASK)
    return _PARAMETER.sub(rf"\g<1>{MASK}", _URL_LOGIN.sub(MASK, _AGE_KEY.sub(MASK, text)))


def _usable(secrets: Iterable[str]) -> set[str]:
    return {secret for secret in secrets if len(secret) >= MIN_SECRET_CHARACTERS and secret.strip(MASK)}


def _forms(secret: str) -> set[str]:
    encoded = secret.encode(errors="surrogateescape")
    in_libpq = secret.replace("\\", "\\\\").replace("'", "\\'")
    quoted = {quote(encoded, safe=""), quote(encoded), json.dumps(secret)[1:-1], repr(secret)[1:-1], in_libpq}
    return {secret, printable(secret), *quoted}


def _login_password(url: str) -> list[str]:
    """Return the password before the @ of a URL, as it stands there and decoded."""
    authority = re.match(r"[a-z][a-z0-9+.-]*://([^/?#]*)@", url, re.IGNORECASE)
    password = authority[1].partition(":")[2] if authority else ""
    return [password, unquote(password)]


def _parts_of_secret_url(url: str) -> list[str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return [url]
    tokens = [*parts.path.split("/"), *(value for _, value in parse_qsl(parts.query))]
    return [url, url.rstrip("/"), *(token for token in tokens if len(token) >= MIN_TOKEN_CHARACTERS)]


def _secrets_of_connection(value: str) -> list[str]:
    """Return the secrets in an AIRFLOW_CONN_… variable: JSON, or a URL with its extras as parameters."""
    if not value.lstrip().startswith("{"):
        return _secrets_of_mapping(dict(parse_qsl(value.partition("?")[2])))
    try:
        return _secrets_of_mapping(json.loads(value))
    except ValueError:
        return []


def _secrets_of_mapping(values: Mapping[str, object]) -> list[str]:
    found = []
    for name, value in values.items():
        inner = value
        if isinstance(value, str) and value.lstrip().startswith("{"):  # extras may be JSON within JSON
            try:
                inner = json.loads(value)
            except ValueError:
                inner = value
        if isinstance(inner, dict):
            found += _secrets_of_mapping(inner)
        elif _SECRET_KEY.search(name) and value:
            found.append(str(value))
    return found
