"""Purchases, transfers, credits and points: the transaction tables, of which a backup takes three months."""

from collections.abc import Iterator

from include.demo.sample import words
from include.demo.sample.history import History, Topic
from include.demo.sample.ledger import CENTS, Balances, movements
from include.demo.sample.people import BANGKOK
from include.demo.sample.purchases import Package, is_purchase, purchase_at
from include.demo.sample.rows import NULL, Rows, json_field, line

TRANSFERS_WITHOUT_TIME = 5
CHECK_IN_POINTS, REDEEMED_POINTS = 5, 200
CENTS_PER_POINT = 25_00
BAHT = {"THB": 1, "USD": 36}
PAYMENTS = tuple(
    json_field({"method": method, "sandbox": True, "memo": memo})
    for method, memo in (
        ("promptpay", "โอนแล้ว"),
        ("card", 'ends with "4242"'),
        ("transfer", None),
        ("card", ""),
    )
)
REDEMPTIONS = tuple(json_field({"reward": reward}) for reward in ("Coffee ☕", "บัตรกำนัล", "50 credits"))


def money_rows(history: History) -> Iterator[Rows]:
    """Yield the rows of every table of this kind; accounts last, because their transactions fill them."""
    balances = Balances.opening(history)
    yield Rows(
        "purchases",
        "id, invoice_number, user_id, package, amount, currency, credits, status, refund_of,"
        " payment, note, paid_at, created_at",
        _purchases(history),
    )
    yield Rows("transfers", "id, from_user_id, to_user_id, amount, message, created_at", _transfers(history))
    yield Rows(
        "credit_transactions",
        "id, account_id, kind, amount, balance_after, purchase_id, transfer_id, description, created_at",
        _credit_transactions(history, balances),
    )
    yield Rows(
        "point_transactions",
        "id, user_id, points, reason, purchase_id, details, created_at",
        _point_transactions(history, balances),
    )
    yield Rows(
        "credit_accounts",
        "id, user_id, balance, monthly_limit, updated_at",
        _credit_accounts(history, balances),
    )
    yield Rows("point_accounts", "user_id, points, expires_on", _point_accounts(history, balances))


def _text(history: History, step: int, texts: tuple[str, ...]) -> str:
    return texts[int(history.chance(Topic.TEXT, step) * len(texts))]


def _purchases(history: History) -> Iterator[str]:
    for step in filter(is_purchase, range(history.steps)):
        user, package, status, original = purchase_at(history, step)
        created = history.step_moment(step)
        sign = 1 if original is None else -1
        paid_at = None if status in ("pending", "failed") else created.replace(tzinfo=None) + BANGKOK
        yield line(
            history.key("purchases", step), f"INV-{created.year}-{step // 4 + 1:07}",
            history.key("users", user), package.name, f"{sign * package.amount / CENTS:.2f}",
            package.currency, sign * package.credits, status,
            None if original is None else history.key("purchases", original),
            PAYMENTS[step // 4 % len(PAYMENTS)] if paid_at else None,
            _text(history, step, words.PURCHASE_NOTES), paid_at, created,
        )  # fmt: skip


def _transfers(history: History) -> Iterator[str]:
    for movement in movements(history, Balances.opening(history)):
        if movement.kind == "transfer_out" and movement.transfer and movement.other_user is not None:
            dated = movement.transfer > TRANSFERS_WITHOUT_TIME
            yield line(
                movement.transfer,
                history.key("users", movement.user), history.key("users", movement.other_user),
                f"{-movement.amount / CENTS:.2f}", _text(history, movement.step, words.TRANSFER_MESSAGES),
                history.step_moment(movement.step) if dated else None,
            )  # fmt: skip


def _credit_transactions(history: History, balances: Balances) -> Iterator[str]:
    for number, movement in enumerate(movements(history, balances)):
        step, kind, user, amount, balance, purchase, transfer, _ = movement
        purchase_key = NULL if purchase is None else history.key("purchases", purchase)
        description = _text(history, step, words.USAGE_DESCRIPTIONS) if kind == "usage" else NULL
        yield (
            f"{history.key('credit_transactions', number)}\t{history.key('credit_accounts', user)}\t{kind}\t"
            f"{amount / CENTS:.2f}\t{balance / CENTS:.2f}\t{purchase_key}\t{transfer or NULL}\t"
            f"{description}\t{history.step_moment(step)}\n"
        )


def _earned(package: Package) -> int:
    return package.amount * BAHT[package.currency] // CENTS_PER_POINT


def _points_of(history: History, step: int, balances: Balances) -> tuple[int, int, str, int | None]:
    """Return the user, the points, the reason and the purchase that they are for."""
    if is_purchase(step):
        user, package, status, original = purchase_at(history, step)
        if original is not None:
            return user, -min(_earned(package), balances.points[user]), "refund", original
        if status in ("paid", "refunded"):
            return user, _earned(package), "purchase", step
    user = history.user_at(step)
    if balances.points[user] >= REDEEMED_POINTS:
        return user, -REDEEMED_POINTS, "redeemed", None
    return user, CHECK_IN_POINTS, "check-in", None


def _point_transactions(history: History, balances: Balances) -> Iterator[str]:
    for number, step in enumerate(range(0, history.steps, 2), 1):
        user, points, reason, purchase = _points_of(history, step, balances)
        balances.points[user] += points
        yield line(
            number, history.key("users", user), points, reason,
            None if purchase is None else history.key("purchases", purchase),
            REDEMPTIONS[step % len(REDEMPTIONS)] if reason == "redeemed" else None, history.step_moment(step),
        )  # fmt: skip


def _credit_accounts(history: History, balances: Balances) -> Iterator[str]:
    for user, balance in enumerate(balances.credits):
        limit = "5000.00" if user % 6 == 0 else None
        account, owner = history.key("credit_accounts", user), history.key("users", user)
        yield line(account, owner, f"{balance / CENTS:.2f}", limit, history.moment(1))


def _point_accounts(history: History, balances: Balances) -> Iterator[str]:
    for user, points in enumerate(balances.points):
        expires_on = history.moment(1).date().replace(month=12, day=31) if points else None
        yield line(history.key("users", user), points, expires_on)
