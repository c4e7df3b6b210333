"""Where credits go: every step buys, pays back, transfers or uses some; no account goes below zero."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from include.demo.sample.history import History, Topic
from include.demo.sample.purchases import is_purchase, purchase_at

WELCOME_BONUS = 50_00
CENTS = 100
STEPS_PER_TRANSFER, TRANSFERRING = 10, 3


class Movement(NamedTuple):
    """One row of credit_transactions; amount and balance in hundredths of a credit."""

    step: int
    kind: str
    user: int
    amount: int
    balance: int
    purchase: int | None = None
    transfer: int | None = None
    other_user: int | None = None


@dataclass(frozen=True)
class Balances:
    """What every user has: 16 bytes a user, the only thing that grows with the sample."""

    credits: "array[int]"
    points: "array[int]"

    @classmethod
    def opening(cls, history: History) -> "Balances":
        """Return the balances of users who have nothing yet."""
        return cls(array("q", bytes(8 * history.users)), array("q", bytes(8 * history.users)))


def movements(history: History, balances: Balances) -> Iterator[Movement]:
    """Yield every movement of credits in the order of time, keeping `balances.credits` up to date."""
    transfers = 0
    for step in range(history.steps):
        if is_purchase(step):
            yield from _purchase_movement(history, step, balances)
        elif step % STEPS_PER_TRANSFER == TRANSFERRING and (
            pair := _transfer_movements(history, step, balances, transfers + 1)
        ):
            transfers += 1
            yield from pair
        else:
            yield _usage_movement(history, step, balances)


def _purchase_movement(history: History, step: int, balances: Balances) -> Iterator[Movement]:
    user, package, status, original = purchase_at(history, step)
    bought = package.credits * CENTS
    if status in ("paid", "refunded"):
        yield _move(balances, Movement(step, "purchase", user, bought, 0, purchase=step))
    elif original is not None:
        # The row names the purchase that is paid back; what has been used up is not taken away again.
        taken = min(bought, balances.credits[user])
        yield _move(balances, Movement(step, "refund", user, -taken, 0, purchase=original))


def _transfer_movements(
    history: History, step: int, balances: Balances, transfer: int
) -> tuple[Movement, Movement] | None:
    giver, taker = history.user_at(step), history.user_at(step, Topic.COUNTERPART)
    amount = min(balances.credits[giver], CENTS * (5 + 5 * int(history.chance(Topic.AMOUNT, step) * 40)))
    if giver == taker or amount == 0:
        return None
    given = Movement(step, "transfer_out", giver, -amount, 0, transfer=transfer, other_user=taker)
    taken = Movement(step, "transfer_in", taker, amount, 0, transfer=transfer, other_user=giver)
    return _move(balances, given), _move(balances, taken)


def _usage_movement(history: History, step: int, balances: Balances) -> Movement:
    user = history.user_at(step)
    if balances.credits[user] == 0:
        return _move(balances, Movement(step, "bonus", user, WELCOME_BONUS, 0))
    used = min(balances.credits[user], 25 + int(history.chance(Topic.AMOUNT, step) ** 3 * 60_00))
    return _move(balances, Movement(step, "usage", user, -used, 0))


def _move(balances: Balances, movement: Movement) -> Movement:
    balances.credits[movement.user] += movement.amount
    return movement._replace(balance=balances.credits[movement.user])
