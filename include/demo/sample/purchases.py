"""What is bought, and what is paid back.

Every fourth step of the history buys a package. In every block of 100 steps one of them pays an earlier
purchase back instead: in every other block one of the same block, otherwise one from many months ago, so
that a backup of the last three months holds rows that refer to rows before it.
"""

import math
from typing import NamedTuple

from include.demo.sample.history import History, Topic

BLOCK = 100
REFUNDING, REFUNDED_SOON, REFUNDED_LATE = 52, 4, 8  # places of purchases in their block
FAILING = 0.03  # of all purchases
LATE_REFUND_SHARE = 0.3  # of all steps; towards the end that is at least 110 days


class Package(NamedTuple):
    """What is sold: whole credits for an amount in cents."""

    name: str
    amount: int
    currency: str
    credits: int


PACKAGES = (
    Package("Starter", 99_00, "THB", 100),
    Package("Starter", 99_00, "THB", 100),
    Package("Plus", 299_00, "THB", 350),
    Package("Plus", 299_00, "THB", 350),
    Package("Pro", 990_00, "THB", 1_250),
    Package("Team", 4_990_00, "THB", 7_000),
    Package("Plus, international", 8_99, "USD", 350),
)


class Purchase(NamedTuple):
    """One purchase, or, with `refund_of`, the paying back of the purchase of that step."""

    user: int
    package: Package
    status: str
    refund_of: int | None


def is_purchase(step: int) -> bool:
    """Tell whether the step buys a package, or pays one back."""
    return step % 4 == 0


def purchase_at(history: History, step: int) -> Purchase:
    """Return the purchase of a step for which is_purchase holds."""
    original = _refunded_step(history, step)
    source = step if original is None else original
    package = PACKAGES[int(history.chance(Topic.PACKAGE, source) * len(PACKAGES))]
    status = _status(history, step) if original is None else "refund"
    return Purchase(history.user_at(source), package, status, original)


def _late_refund_blocks(history: History) -> int:
    return 2 * math.ceil(LATE_REFUND_SHARE / 2 * history.steps / BLOCK)  # even: see _refunded_step


def _refunded_step(history: History, step: int) -> int | None:
    block, place = divmod(step, BLOCK)
    if place != REFUNDING:
        return None
    if block % 2:
        return block * BLOCK + REFUNDED_SOON
    original_block = block - _late_refund_blocks(history)
    return original_block * BLOCK + REFUNDED_LATE if original_block >= 0 else None


def _status(history: History, step: int) -> str:
    block, place = divmod(step, BLOCK)
    soon = block % 2 == 1
    if place == (REFUNDED_SOON if soon else REFUNDED_LATE):
        delay_blocks = 0 if soon else _late_refund_blocks(history)
        return "refunded" if (block + delay_blocks) * BLOCK + REFUNDING < history.steps else "paid"
    if history.steps - step < BLOCK // 2:
        return "pending"
    return "failed" if history.chance(Topic.STATUS, step) < FAILING else "paid"
