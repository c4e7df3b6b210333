"""The rows that hardly ever change: roles, permissions, exchange rates and system settings."""

import math
from collections.abc import Iterator
from datetime import timedelta

from include.demo.sample.history import SPAN, History, Topic
from include.demo.sample.rows import Rows, field, json_field, line

ROLES = (
    ("admin", "ผู้ดูแลระบบ", "Runs the platform"),
    ("support", "ฝ่ายบริการลูกค้า", 'Answers "everything"'),
    ("organization_admin", "ผู้ดูแลองค์กร", None),
    ("member", "สมาชิก", ""),
)
PERMISSIONS = (
    "users.read",
    "users.write",
    "credits.grant",
    "purchases.refund",
    "settings.write",
    "reports.read",
)
GRANTED = {1: range(1, 7), 2: (1, 4, 6), 3: (1, 6), 4: (6,)}
RATES = {"USD": 36.4, "EUR": 39.2, "SGD": 27.1, "JPY": 0.243, "GBP": 46.0}
SETTINGS: dict[str, object] = {
    "credits.welcome_bonus": 50,
    "credits.low_balance_alert": {"enabled": True, "below": 20.5},
    "mail.footer": 'Smart AI Hub\n"ยินดีให้บริการ" 🙏',
    "maintenance.window": None,
    "models.enabled": ["chat-large", "chat-small", "image-2"],
    "paths.export": r"\\fileserver\exports",
    "points.per_100_baht": 4,
    "security.password_policy": {"min_length": 12, "forbid": ["'", '"', "\\"]},
}


def settings_rows(history: History) -> Iterator[Rows]:
    """Yield the rows of every table of this kind."""
    roles = [line(number, code, name, field(about)) for number, (code, name, about) in enumerate(ROLES, 1)]
    permissions = [line(number, code, f"May {code}") for number, code in enumerate(PERMISSIONS, 1)]
    granted = [line(role, permission) for role, given in GRANTED.items() for permission in given]
    yield Rows("roles", "id, code, name, description", roles)
    yield Rows("permissions", "id, code, description", permissions)
    yield Rows("role_permissions", "role_id, permission_id", granted)
    yield Rows("exchange_rates", "id, base, quote, rate, valid_on", _exchange_rates(history))
    yield Rows("system_settings", "key, value, description, updated_by, updated_at", _settings(history))


def _exchange_rates(history: History) -> Iterator[str]:
    number = 0
    for day in range(SPAN.days + 1):
        for currency, middle in RATES.items():
            number += 1
            noise = history.chance(Topic.AMOUNT, number) * 0.008
            rate = middle * (1 + 0.05 * math.sin(day / 90) + noise)
            yield line(number, currency, "THB", f"{rate:.8f}", (history.start + timedelta(days=day)).date())


def _settings(history: History) -> Iterator[str]:
    for number, (key, value) in enumerate(SETTINGS.items()):
        changed_by = history.key("users", 0) if number % 2 else None
        yield line(key, json_field(value), "" if number % 3 else None, changed_by, history.user_moment(number))
