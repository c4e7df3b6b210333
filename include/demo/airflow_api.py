"""What the demo asks of Airflow's REST API: is it healthy, make a backup, how far is it, what went wrong."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any

import httpx

from include.demo.errors import DemoError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AirflowApi", "TaskState"]

HTTP_UNAUTHORIZED = 401
HTTP_NOT_FOUND = 404


@dataclass(frozen=True)
class TaskState:
    """How far one task of a run is."""

    name: str
    state: str
    seconds: float | None
    attempt: int


class AirflowApi:
    """
    One Airflow, as one user.

    Args:
        address: Such as http://127.0.0.1:28080.
        user: The login's name.
        password: The login's password.
    """

    def __init__(self, address: str, user: str, password: str) -> None:
        self.address = address
        self.login = {"username": user, "password": password}
        # trust_env=False: no proxy, no .netrc.
        self.client = httpx.Client(base_url=address, timeout=30, trust_env=False)

    def healthy(self) -> set[str]:
        """Return the names of the parts that report themselves healthy; empty while nobody answers."""
        with contextlib.suppress(httpx.TransportError):
            answer = self.client.get("/api/v2/monitor/health")
            if answer.is_success:
                return {name for name, part in answer.json().items() if part["status"] == "healthy"}
        return set()

    def warm_up(self) -> None:
        """Make the api-server load what the first task needs: otherwise that task waits for seconds."""
        with contextlib.suppress(httpx.TransportError):  # a busy machine loads it later
            self.client.get("/execution/health")

    def parsed_at(self, dag_id: str) -> datetime | None:
        """Return when the DAG's file was last read, or None if Airflow does not know the DAG."""
        answer = self.request("GET", f"/api/v2/dags/{dag_id}", accept=HTTP_NOT_FOUND)
        if answer.status_code == HTTP_NOT_FOUND or not answer.json()["last_parsed_time"]:
            return None
        return moment(answer.json()["last_parsed_time"])

    def import_error(self, dag_id: str, since: datetime) -> str | None:
        """Return why the DAG's file (named like the DAG) could not be read: the last line of the reason."""
        for error in self.request("GET", "/api/v2/importErrors").json()["import_errors"]:
            if error["filename"].endswith(f"{dag_id}.py") and moment(error["timestamp"]) >= since:
                return str(error["stack_trace"].strip().splitlines()[-1])
        return None

    def unpause(self, dag_id: str) -> None:
        """Let the DAG's runs begin."""
        self.request("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str, note: str) -> str:
        """Start a run by hand and return its id."""
        order = {"logical_date": None, "note": note}
        return str(self.request("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=order).json()["dag_run_id"])

    def unfinished_runs(self, dag_id: str) -> int:
        """Return how many runs of the DAG have not ended."""
        path = f"/api/v2/dags/{dag_id}/dagRuns?state=queued&state=running"
        return int(self.request("GET", path).json()["total_entries"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return queued, running, success or failed."""
        return str(self.request("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}").json()["state"])

    def task_order(self, dag_id: str) -> list[str]:
        """Return the DAG's task ids, each after those it waits for."""
        tasks = self.request("GET", f"/api/v2/dags/{dag_id}/tasks").json()["tasks"]
        graph: dict[str, set[str]] = {task["task_id"]: set() for task in tasks}
        for task in tasks:
            for downstream in task["downstream_task_ids"]:
                graph[downstream].add(task["task_id"])
        return list(TopologicalSorter(graph).static_order())

    def tasks(self, dag_id: str, run_id: str) -> list[TaskState]:
        """Return the states of a run's tasks, in no special order."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        return [
            TaskState(task["task_id"], task["state"] or "waiting", task["duration"], task["try_number"])
            for task in self.request("GET", path).json()["task_instances"]
        ]

    def errors(self, dag_id: str, run_id: str, task: TaskState) -> list[str]:
        """Return what the task's log says at error level: messages, then their exceptions."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task.name}/logs/{task.attempt}"
        answer = self.request("GET", path, headers={"Accept": "application/json"})
        entries = [entry for entry in answer.json()["content"] if isinstance(entry, dict)]
        return [
            line
            for entry in entries
            if entry.get("level") in ("error", "critical")
            for line in (entry["event"], *exceptions(entry))
        ]

    def request(self, method: str, path: str, *, accept: int = 200, **content: Any) -> httpx.Response:
        """
        Send one request with a valid token.

        Args:
            method: GET, POST or PATCH.
            path: From the root.
            accept: One error status that the caller handles.
            content: What httpx takes: json, headers.

        Raises:
            DemoError: If Airflow does not answer, or answers with any other error.
        """
        try:
            answer = self.client.request(method, path, **content)
            if answer.status_code == HTTP_UNAUTHORIZED:
                self.log_in()
                answer = self.client.request(method, path, **content)
        except httpx.TransportError as error:
            raise DemoError(f"Airflow at {self.address} does not answer {method} {path}: {error}") from error
        if answer.is_error and answer.status_code != accept:
            raise DemoError(f"Airflow answered {answer.status_code} to {method} {path}: {answer.text[:500]}")
        return answer

    def log_in(self) -> None:
        """Get a token for the requests that follow."""
        answer = self.client.post("/auth/token", json=self.login)
        if answer.is_error:
            raise DemoError(
                f"Airflow at {self.address} refused the login {self.login['username']}: {answer.text[:200]}"
            )
        self.client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"


def moment(text: str) -> datetime:
    """Return the time in one of the API's answers (Python 3.10 does not read the Z)."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def exceptions(entry: Mapping[str, Any]) -> list[str]:
    """Return the exceptions that a structured log entry carries, each as `type: text`."""
    return [f"{detail['exc_type']}: {detail['exc_value']}" for detail in entry.get("error_detail") or []]
