"""Organisations, each owned by one of its users, and the agencies that some of them run."""

from collections.abc import Iterator

from include.demo.sample import words
from include.demo.sample.history import USERS_PER_ORGANIZATION, History
from include.demo.sample.rows import Rows, field, json_field, line


def organization_rows(history: History) -> Iterator[Rows]:
    """Yield the rows of every table of this kind."""
    yield Rows(
        "organizations",
        "id, name, name_th, tax_id, owner_id, settings, tags, created_at",
        _organizations(history),
    )
    yield Rows(
        "agencies",
        "id, organization_id, name, region, contact_email, commission_rate, active_from",
        _agencies(history),
    )


def _organizations(history: History) -> Iterator[str]:
    for number in range(history.organizations):
        name, thai = words.ORGANIZATIONS[number % len(words.ORGANIZATIONS)]
        owner = number * USERS_PER_ORGANIZATION
        plan = json_field({"plan": "business", "seats": 5 + number % 40, "billing": {"note": 'PO "required"'}})
        yield line(
            history.key("organizations", number), f"{name} {number + 1}", field(thai), f"0105{number:09}",
            history.key("users", owner), plan, field('{"ภาษาไทย","two words"}') if number % 3 else "{}",
            history.user_moment(owner),
        )  # fmt: skip


def _agencies(history: History) -> Iterator[str]:
    for number in range(0, history.organizations, 2):
        region = words.REGIONS[number // 2 % len(words.REGIONS)]
        yield line(
            number // 2 + 1, history.key("organizations", number),
            f"{region} agency {number // 2 + 1}", region,
            f"agency{number}@example.com" if number % 4 else None, f"{0.02 + number % 13 / 100:.4f}",
            history.user_moment(number * USERS_PER_ORGANIZATION).date(),
        )  # fmt: skip
