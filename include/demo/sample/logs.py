"""Sessions, usage logs and audit logs: what a backup of the critical part leaves out."""

from collections.abc import Iterator
from datetime import timedelta

from include.demo.sample import words
from include.demo.sample.history import History, Topic
from include.demo.sample.rows import Rows, json_field, line

ACTIONS = ("user.signed_in", "user.changed", "role.granted", "report.exported")


def log_rows(history: History) -> Iterator[Rows]:
    """Yield the rows of every table of this kind."""
    yield Rows("sessions", "id, user_id, address, user_agent, created_at, expires_at", _sessions(history))
    yield Rows("usage_logs", "id, user_id, model, tokens, duration, created_at", _usage_logs(history))
    yield Rows("audit_logs", "id, actor_id, action, details, created_at", _audit_logs(history))


def _sessions(history: History) -> Iterator[str]:
    for number, step in enumerate(range(history.steps * 19 // 20, history.steps, 2)):
        created = history.step_moment(step)
        yield line(
            history.key("sessions", number), history.key("users", history.user_at(step)),
            f"203.0.113.{number % 254 + 1}", words.USER_AGENTS[number % len(words.USER_AGENTS)],
            created, created + timedelta(hours=12),
        )  # fmt: skip


def _usage_logs(history: History) -> Iterator[str]:
    for number, step in enumerate(range(1, history.steps, 4), 1):
        share = history.chance(Topic.AMOUNT, step)
        yield line(
            number, history.key("users", history.user_at(step)), words.MODELS[step // 4 % len(words.MODELS)],
            int(share * 8000), f"{share * 30:.3f} seconds", history.step_moment(step),
        )  # fmt: skip


def _audit_logs(history: History) -> Iterator[str]:
    for number, step in enumerate(range(0, history.steps, 10), 1):
        actor = history.key("users", history.user_at(step)) if number % 9 else None
        yield line(
            number, actor, ACTIONS[number % len(ACTIONS)], json_field({"by": "web", "request": number}),
            history.step_moment(step),
        )  # fmt: skip
