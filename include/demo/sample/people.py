"""Users and what says who they are: profiles, roles, and who brought whom."""

from base64 import b64encode
from collections.abc import Iterator
from datetime import date, timedelta
from random import Random
from typing import TypeVar

from include.demo.sample import words
from include.demo.sample.history import USERS_PER_ORGANIZATION, History, Topic
from include.demo.sample.rows import Rows, field, json_field, line

USERS_PER_REFERRAL = 7
MEMBERS_AND_OTHERS, OTHERS = 5, 2  # of five users two belong to no organisation
SIGNED_IN = 0.9  # of all users
TIERS = ("free", "free", "free", "free", "silver", "silver", "gold", "enterprise")
STATUSES = ("active",) * 17 + ("invited", "suspended", "closed")
PREFERENCES = tuple(
    json_field({"theme": theme, "language": language, "notify": {"email": email, "quiet": quiet}})
    for theme in ("dark", "light", "ไทย ✨")
    for language in ("th", "en", None)
    for email, quiet in ((True, []), (False, ["22:00", "06:00"]), (True, 'after "dinner"'))
)
BANGKOK = timedelta(hours=7)
OLDEST = date(1950, 1, 1)

Choice = TypeVar("Choice")


def people_rows(history: History) -> Iterator[Rows]:
    """Yield the rows of every table of this kind."""
    yield Rows(
        "users",
        "id, email, display_name, password_hash, status, tier, organization_id, phone,"
        " last_login_at, created_at, updated_at",
        _users(history),
    )
    yield Rows(
        "user_profiles",
        "user_id, full_name, bio, interests, preferences, birth_date, avatar_digest",
        _profiles(history),
    )
    yield Rows("user_roles", "user_id, role_id, granted_by, granted_at", _user_roles(history))
    yield Rows("referrals", "id, referrer_id, referred_id, code, reward_points, created_at", _referrals(history))


def _pick(random: Random, choices: tuple[Choice, ...]) -> Choice:
    # Random.choice may draw differently in another Python; random() never does.
    return choices[int(random.random() * len(choices))]


def _organization_of(history: History, user: int) -> int | None:
    if user % USERS_PER_ORGANIZATION == 0:
        return user // USERS_PER_ORGANIZATION  # its owner
    if user % MEMBERS_AND_OTHERS < OTHERS:
        return None
    return user * 31 % history.organizations


def _name(history: History, user: int) -> tuple[str, str]:
    combinations = len(words.GIVEN_NAMES) * len(words.FAMILY_NAMES)
    given_number, family_number = divmod(int(history.chance(Topic.TEXT, user) * combinations), len(words.FAMILY_NAMES))
    (given, given_plain), (family, family_plain) = (
        words.GIVEN_NAMES[given_number],
        words.FAMILY_NAMES[family_number],
    )
    return f"{given} {family}", f"{given_plain}.{family_plain}"


def _phone(random: Random) -> str:
    number = f"+66 81 555 {random.random() * 9999:04.0f}"
    return field(_pick(random, (*words.NO_PHONES, number, number, number)))


def _users(history: History) -> Iterator[str]:
    random = Random(f"{history.seed} users")  # noqa: S311 (the same every time is the point)
    for user in range(history.users):
        name, address = _name(history, user)
        email = f"{address}{user}@{_pick(random, words.MAIL_DOMAINS)}"
        # Not a hash of anything: only as long and as dense as one of bcrypt's.
        password = "$2b$12$" + b64encode(random.getrandbits(320).to_bytes(40, "big"), b"./").decode()[:53]
        organization = _organization_of(history, user)
        created = history.user_moment(user)
        updated = created + (history.moment(1) - created) * random.random()
        last_login = updated.replace(tzinfo=None) + BANGKOK if random.random() < SIGNED_IN else None
        yield line(
            history.key("users", user), email, name, password, _pick(random, STATUSES), _pick(random, TIERS),
            None if organization is None else history.key("organizations", organization),
            _phone(random), last_login, created, updated,
        )  # fmt: skip


def _profiles(history: History) -> Iterator[str]:
    random = Random(f"{history.seed} user_profiles")  # noqa: S311
    for user in range(history.users):
        name, _ = _name(history, user)
        born = OLDEST + timedelta(days=int(random.random() * 20_000))
        yield line(
            history.key("users", user), name, _pick(random, words.BIOS), _pick(random, words.INTERESTS),
            _pick(random, PREFERENCES), born if user % 9 else None,
            None if user % 3 else rf"\\x{random.getrandbits(160):040x}",
        )  # fmt: skip


def _user_roles(history: History) -> Iterator[str]:
    for user in range(history.users):
        granted = history.user_moment(user)
        yield line(history.key("users", user), 4, None, granted)
        if user % USERS_PER_ORGANIZATION == 0:
            yield line(history.key("users", user), 3, history.key("users", 0), granted)
        if user % 1000 == 0:
            yield line(history.key("users", user), 1 if user == 0 else 2, history.key("users", 0), granted)


def _referrals(history: History) -> Iterator[str]:
    for number, referred in enumerate(range(3, history.users, USERS_PER_REFERRAL), 1):
        yield line(
            number, history.key("users", referred // 2), history.key("users", referred),
            f"FRIEND-{number:06}", 100 + number % 3 * 50, history.user_moment(referred),
        )  # fmt: skip
