"""What happened when: the one source from which every table of the sample draws its facts.

A history is a row of numbered steps spread over two years, denser towards the end, as on a platform that
grows. Keys, times and chances are pure functions of (seed, number), so tables agree with each other without
anything being kept in memory.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, auto
from hashlib import blake2b

SPAN = timedelta(days=730)
USERS_PER_ORGANIZATION = 50
ORGANIZATIONS_AT_SCALE_1 = 160
STEPS_AT_SCALE_1 = 96_000
SMALLEST_SCALE = 0.01  # below it, the last three months would miss some of the peculiarities
BITS = 2**64 - 1


class Topic(IntEnum):
    """What a chance is drawn for, so that two questions about one step get independent answers."""

    MOMENT = auto()
    USER = auto()
    PACKAGE = auto()
    STATUS = auto()
    AMOUNT = auto()
    COUNTERPART = auto()
    TEXT = auto()


@dataclass(frozen=True)
class History:
    """The size and the span of one sample.

    seed: Chooses the rows. users, steps: How many. start: Aware; the history ends SPAN later.
    """

    seed: int
    users: int
    steps: int
    start: datetime

    @classmethod
    def of_scale(cls, scale: float, *, seed: int, now: datetime) -> "History":
        """Return the history of that scale that ends at `now` (aware)."""
        factor = max(scale, SMALLEST_SCALE)
        users = USERS_PER_ORGANIZATION * round(ORGANIZATIONS_AT_SCALE_1 * factor)
        return cls(seed, users, round(STEPS_AT_SCALE_1 * factor), now - SPAN)

    @property
    def organizations(self) -> int:
        """Return how many organisations there are."""
        return self.users // USERS_PER_ORGANIZATION

    def chance(self, topic: Topic, number: int) -> float:
        """Return a number in [0, 1) that looks random and is always the same (splitmix64)."""
        bits = (number * 0x9E3779B97F4A7C15 + (self.seed * 64 + topic) * 0xD1342543DE82EF95) & BITS
        bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & BITS
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & BITS
        return float((bits ^ (bits >> 31)) >> 11) / 2.0**53

    def key(self, table: str, number: int) -> str:
        """Return the UUID of row `number` of a table, in the shape of a version 4."""
        digits = blake2b(f"{self.seed} {table} {number}".encode(), digest_size=16).hexdigest()
        return f"{digits[:12]}4{digits[13:16]}a{digits[17:]}"

    def moment(self, share: float) -> datetime:
        """Return the time at which that share, in [0, 1), of everything had happened."""
        return self.start + SPAN * math.sqrt(share)

    def step_moment(self, step: int) -> datetime:
        """Return when a step happened; later steps are later."""
        return self.moment((step + self.chance(Topic.MOMENT, step)) / self.steps)

    def user_moment(self, user: int) -> datetime:
        """Return when a user signed up."""
        return self.moment(user / self.users)

    def user_at(self, step: int, topic: Topic = Topic.USER) -> int:
        """Return somebody who had signed up by that step; the early ones are the busiest."""
        return int(self.chance(topic, step) ** 2 * (step * self.users // self.steps + 1))
